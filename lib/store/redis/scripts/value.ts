import type { Holder } from '../../lock-store.js';

/*
 * What a key of ours holds: `<owner> <token>` while the lock is held, the bare token after its release. Owners begin with `rl:` and
 * tokens have 16 digits (microseconds since 1970, until the year 2255), so that another program's value is not taken for ours. A lock that was released
 * before its `minHoldTime` leaves `<owner>~ <token>`: busy, but nobody's.
 */

export const COOLDOWN_MARK = '~';

export type KeyValue =
  | { readonly kind: 'free' }
  | { readonly kind: 'held'; readonly holder: Holder }
  | { readonly kind: 'foreign'; readonly found: string };

/** Reads a key's value and its remaining time in ms. */
export function parseValue(value: string | null, pttl: number): KeyValue {
  if (value === null || /^\d{16}$/.test(value)) return { kind: 'free' };
  const match = /^(rl:[^ ~]+)(~?) (\d{16})$/.exec(value);
  if (match === null) return { kind: 'foreign', found: shortened(value) };
  return {
    kind: 'held',
    holder: {
      owner: match[1]!,
      token: Number(match[3]),
      // -1: it has no time to live. -2: it has just expired.
      remainingTime: pttl === -1 ? Infinity : Math.max(0, pttl),
      inCooldown: match[2] === COOLDOWN_MARK,
    },
  };
}

/** Whether the value says that `owner` holds the key. */
export function isHeldBy(value: unknown, owner: string): boolean {
  return typeof value === 'string' && value.startsWith(`${owner} `);
}

function shortened(value: string): string {
  return value.length > 40 ? `the value '${value.slice(0, 40)}…'` : `the value '${value}'`;
}
