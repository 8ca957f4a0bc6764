import type { Demand } from './demand.js';
import type { Linked } from '../common/linked-list.js';

/** A caller that stands in a queue, in one queue at a time. */
export interface Waiter extends Linked<Waiter>, Demand {
  /** True if the waiter has not asked and would ask now. */
  readonly isReady: boolean;
  /** The waiter may ask now. */
  onTurn(): void;
  /** The key was changed, and this waiter is the first. */
  onChange(): void;
  /** A question for the key was answered. Called for waiters whose time is up. */
  onAnswer(): void;
  /** The key was found to keep a result. */
  onKept(): void;
}
