import type { LockLostError } from './errors.js';

/**
 * The states of a `HeldLock`:
 *
 *     held -> (keeping ->) released
 *       |         |
 *       |_________|______> lost
 *
 * *keeping*: the lock was given back, and the confirmation of the kept result is awaited.
 */
export type State =
  | { readonly kind: 'held' }
  | { readonly kind: 'keeping' }
  | { readonly kind: 'released' }
  | { readonly kind: 'lost'; readonly error: LockLostError };

export const HELD: State = { kind: 'held' };
export const KEEPING: State = { kind: 'keeping' };
export const RELEASED: State = { kind: 'released' };

/** What the key keeps after the release. */
export interface Keeping {
  readonly result: string;
  /** ms */
  readonly keepFor: number;
}
