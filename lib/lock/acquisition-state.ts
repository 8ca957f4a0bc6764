import type { Attempt } from '../store/lock-store.js';
import type { Question } from './questions.js';

/** What an acquisition is doing. */
export type State =
  /** Waits for the turn of this caller. */
  | { readonly kind: 'queued' }
  | Asking
  /** The key is busy. Waits until it changes, the lease ends, or the next step of `BusyKey` is due. */
  | { readonly kind: 'sleeping' }
  /** Waits for the store to tell whether the holder still holds the key. */
  | { readonly kind: 'checking' }
  /** The store refused for now. Waits until the pause before the next attempt is over. */
  | { readonly kind: 'pausing' }
  /** `waitTime` is over. Waits for the store's answer to another caller of this process. */
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
