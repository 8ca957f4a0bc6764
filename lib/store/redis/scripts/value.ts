import type { Holder, KeptResult } from '../../lock-store.js';

/*
 * The values of the library's keys:
 *
 *     <owner> <token>     a lock holds the key
 *     <owner>~ <token>    the lock was released before its `minHoldTime`: busy, but not held
 *     <owner>= <token> <result>    the work of the lock has run, and the key keeps its result
 *     <token>             the key is free; its next token is greater
 *
 * Locks with a limit above 1 make a hash of the key: see `permits.ts`.
 *
 * Owners begin with `rl:`, and tokens have 16 digits (microseconds since 1970, until the year
 * 2255). So another program's value is not mistaken for one of ours.
 */

/** Stands behind the owner's name while the key is in cooldown. */
export const COOLDOWN_MARK = '~';

/** Stands behind the owner's name while the key keeps a result. */
export const KEPT_MARK = '=';

const HELD = /^(rl:[^ ~]+)(~?) (\d{16})$/;
/** A busy answer carries only the beginning of the value, so the result may be cut. */
const KEPT = /^(rl:[^ ~]+)= (\d{16}) /;

export type KeyValue =
  | { readonly kind: 'free' }
  | { readonly kind: 'held'; readonly holder: Holder }
  | KeptResult
  | { readonly kind: 'foreign'; readonly found: string };

/** `pttl`: the key's remaining time in ms, as PTTL reports it. */
export function parseValue(value: string | null, pttl: number): KeyValue {
  if (value === null || /^\d{16}$/.test(value)) return { kind: 'free' };
  // -1: the key has no time to live. -2: the key has just expired.
  const remainingTime = pttl === -1 ? Infinity : Math.max(0, pttl);
  const held = HELD.exec(value);
  if (held !== null) {
    const [, owner = '', mark, token] = held;
    const inCooldown = mark === COOLDOWN_MARK;
    return { kind: 'held', holder: { owner, token: Number(token), remainingTime, inCooldown, limit: 1 } };
  }
  const kept = KEPT.exec(value);
  if (kept === null) return { kind: 'foreign', found: shortened(value) };
  const [head, owner = '', token] = kept;
  const holder: Holder = {
    owner,
    token: Number(token),
    remainingTime,
    inCooldown: false,
    keepsResult: true,
    limit: 1,
  };
  return { kind: 'kept', holder, result: value.slice(head.length) };
}

function shortened(value: string): string {
  return value.length > 40 ? `the value '${value.slice(0, 40)}…'` : `the value '${value}'`;
}
