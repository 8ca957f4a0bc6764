import type { Clock } from '../common/clock.js';

/**
 * ms between two calls of the timer, and the least age of a lock for which `startUpkeep` is
 * called.
 */
const NEW_LOCK_TIME = 3;

interface NewLock {
  /** The monotonic instant. */
  readonly grantedAt: number;
  /** Starts the lock's renewal, expiry timer and key tracking. */
  startUpkeep(): void;
}

/**
 * Locks that were granted a moment ago. Calls `startUpkeep` for the locks that are still held 3 to
 * 6 ms after their grant, or at the first turn of a busier event loop. Most locks are given back
 * before. To renew, time and watch each lock from the grant on would cost as much as the lock. A
 * lock that was granted late does not come here: `HeldLocks.add` starts its upkeep at once.
 */
export class NewLocks<L extends NewLock> {
  /** In the order of their grants. */
  private locks: L[] = [];
  private stopTimer: (() => void) | undefined;

  constructor(private readonly clock: Clock) {}

  add(lock: L): void {
    this.locks.push(lock);
    this.stopTimer ??= this.clock.after(NEW_LOCK_TIME, () => this.onTimer());
  }

  close(): void {
    this.stopTimer?.();
  }

  private onTimer(): void {
    const grantedBefore = this.clock.monotonic() - NEW_LOCK_TIME;
    let count = 0;
    while (count < this.locks.length && this.locks[count]!.grantedAt <= grantedBefore) count++;
    const due = this.locks.splice(0, count);
    this.stopTimer =
      this.locks.length > 0 ? this.clock.after(NEW_LOCK_TIME, () => this.onTimer()) : undefined;
    for (const lock of due) lock.startUpkeep();
  }
}
