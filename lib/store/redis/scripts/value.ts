import type { Holder } from '../../lock-store.js';

/*
 * The values of the library's keys:
 *
 *     <owner> <token>     a lock holds the key
 *     <owner>~ <token>    the lock was released before its `minHoldTime`: busy, but not held
 *     <token>             the key is free; its next token is greater
 *
 * Owners begin with `rl:`, and tokens have 16 digits (microseconds since 1970, until the year
 * 2255). So another program's value is not mistaken for one of ours.
 */

/** Stands behind the owner's name while the key is in cooldown. */
export const COOLDOWN_MARK = '~';

export type KeyValue =
  | { readonly kind: 'free' }
  | { readonly kind: 'held'; readonly holder: Holder }
  | { readonly kind: 'foreign'; readonly found: string };

/** `pttl`: the key's remaining time in ms, as PTTL reports it. */
export function parseValue(value: string | null, pttl: number): KeyValue {
  if (value === null || /^\d{16}$/.test(value)) return { kind: 'free' };
  const match = /^(rl:[^ ~]+)(~?) (\d{16})$/.exec(value);
  if (match === null) return { kind: 'foreign', found: shortened(value) };
  return {
    kind: 'held',
    holder: {
      owner: match[1]!,
      token: Number(match[3]),
      // -1: the key has no time to live. -2: the key has just expired.
      remainingTime: pttl === -1 ? Infinity : Math.max(0, pttl),
      inCooldown: match[2] === COOLDOWN_MARK,
    },
  };
}

function shortened(value: string): string {
  return value.length > 40 ? `the value '${value.slice(0, 40)}…'` : `the value '${value}'`;
}
