import { needsAtLeast, type Demand } from './demand.js';
import type { Waiter } from './waiter.js';

/** Waiters that fail in one pass through a queue, before it is the first's turn again. */
const MOST_FAILURES = 8;

/**
 * The first waiter of a queue failed, or has no answer for long. Its turn passes through the queue:
 * to each waiter that does not need at least what has just failed, one after the other. So a caller
 * that needs a majority of the servers is not kept waiting by one that needs all, and of ten
 * thousand that need the same one asks.
 */
export class Trouble {
  /** The demands that failed in this pass. */
  private failed: Demand[];
  /** The last waiter that got the turn; undefined: the first of the queue. */
  private passed: Waiter | undefined = undefined;
  /** The turn is with the first again, until it fails once more. */
  private isThrough = false;
  /** The key is held, or written by an attempt: no other waiter has to ask before that changes. */
  private isBusy = false;
  /** The waiter that found it busy, and whose turn it is then. */
  private again: Waiter | undefined = undefined;

  constructor(first: Waiter) {
    this.failed = [first];
  }

  /** The waiter behind the first whose turn it is. */
  next(first: Waiter): Waiter | undefined {
    if (this.isBusy) return undefined;
    const { again } = this;
    this.again = undefined;
    if (again?.isReady === true) return again;
    if (this.failed.length < MOST_FAILURES) {
      let waiter = (this.passed ?? first).behind;
      for (; waiter !== undefined; waiter = waiter.behind) {
        this.passed = waiter;
        if (this.isUntried(waiter) && waiter.isReady) return waiter;
      }
    }
    this.isThrough = true;
    return undefined;
  }

  /** The waiter's question failed, or is late. */
  fail(waiter: Waiter, isFirst: boolean): void {
    this.isBusy = false;
    if (!isFirst) this.failed.push(waiter);
    else if (this.isThrough) {
      this.isThrough = false;
      this.failed = [waiter];
      // A pass that was not finished goes on where it ended.
      if (this.passed?.behind === undefined) this.passed = undefined;
    }
  }

  busy(): void {
    this.isBusy = true;
  }

  /** The waiter, which is not the first, found the key busy. */
  yield(waiter: Waiter): void {
    this.isBusy = true;
    this.again = waiter;
  }

  /** The key was changed. True if a waiter has to ask because of that. */
  changed(): boolean {
    this.isBusy = false;
    return this.again !== undefined;
  }

  /** The waiter leaves the queue. */
  forget(waiter: Waiter): void {
    if (this.passed === waiter) this.passed = waiter.ahead;
    if (this.again === waiter) this.again = undefined;
  }

  private isUntried(waiter: Waiter): boolean {
    return !this.failed.some((demand) => needsAtLeast(waiter, demand));
  }
}
