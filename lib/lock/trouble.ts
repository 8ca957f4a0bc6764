import { needsAtLeast, type Demand } from './demand.js';
import type { Waiter } from './waiter.js';

/** After this number of failures in one pass the turn goes back to the first waiter. */
const MOST_FAILURES = 8;

/**
 * The state of a queue whose first waiter failed or has had no answer for a long time. The turn
 * passes through the queue, and skips each waiter whose demand includes a demand that failed. So a
 * waiter that needs all replicas does not hold up a waiter that needs a majority. Of ten thousand
 * waiters with the same needs only one asks.
 */
export class Trouble {
  /** The demands that failed in this pass. */
  private failed: Demand[];
  /** The last waiter that the pass has reached. Undefined: the first of the queue. */
  private passed: Waiter | undefined = undefined;
  /** The pass has ended: the first waiter has the turn until its next failure. */
  private isThrough = false;
  /** The key is held, or an attempt has written it. No other waiter asks before that changes. */
  private isBusy = false;
  /** The waiter that found the key busy. This waiter asks again when the key changes. */
  private again: Waiter | undefined = undefined;

  constructor(first: Waiter) {
    this.failed = [first];
  }

  /** The waiter behind the first that may ask now. Undefined: the turn is the first's. */
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

  /** The waiter's question failed, or its answer is late. */
  fail(waiter: Waiter, isFirst: boolean): void {
    this.isBusy = false;
    if (!isFirst) this.failed.push(waiter);
    else if (this.isThrough) {
      this.isThrough = false;
      this.failed = [waiter];
      // A pass that did not reach the end of the queue goes on from the place that it reached.
      if (this.passed?.behind === undefined) this.passed = undefined;
    }
  }

  heardBusy(): void {
    this.isBusy = true;
  }

  /** A waiter other than the first found the key busy. */
  foundBusy(waiter: Waiter): void {
    this.isBusy = true;
    this.again = waiter;
  }

  /** The key was changed. True if a waiter other than the first must ask again because of that. */
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
