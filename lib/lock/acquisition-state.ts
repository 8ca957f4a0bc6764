import type { Attempt } from '../store/lock-store.js';
import type { Question } from './questions.js';

/** What an acquisition is doing. */
export type State =
  /** Until the turn of this caller comes. */
  | { readonly kind: 'queued' }
  | Asking
  /** Busy: until the key changes, the lease ends, or the next step of `BusyKey` is due. */
  | { readonly kind: 'sleeping' }
  /** Until the store tells whether the holder still holds the key. */
  | { readonly kind: 'checking' }
  /** Refused for now: until the pause before the next attempt is over. */
  | { readonly kind: 'pausing' }
  /** The time is up: until the store answers another caller of this process. */
  | { readonly kind: 'staying on' }
  | { readonly kind: 'ended' };

export interface Asking {
  readonly kind: 'asking';
  readonly attempt: Attempt;
  readonly owner: string;
  /** One question for each of the sorted keys. */
  readonly questions: readonly Question[];
}

export const QUEUED: State = { kind: 'queued' };
export const SLEEPING: State = { kind: 'sleeping' };
export const PAUSING: State = { kind: 'pausing' };
export const STAYING_ON: State = { kind: 'staying on' };
export const ENDED: State = { kind: 'ended' };
