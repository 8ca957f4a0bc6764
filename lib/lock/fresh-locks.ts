import type { Clock } from '../store/clock.js';

/** ms between two turns. */
const TURN_TIME = 3;

/**
 * Locks that were granted a moment ago. What keeps a lock alive begins for those that are still held 3 to 6 ms after their grant: most are given back
 * before, and to renew, time and watch each of them from the first instant would cost as much as the lock itself.
 */
export class FreshLocks<L extends { keep(): void }> {
  private newer: L[] = [];
  private older: L[] = [];
  private stopClock: (() => void) | undefined;

  constructor(private readonly clock: Clock) {}

  add(lock: L): void {
    this.newer.push(lock);
    this.stopClock ??= this.clock.after(TURN_TIME, () => this.turn());
  }

  close(): void {
    this.stopClock?.();
  }

  private turn(): void {
    const due = this.older;
    this.older = this.newer;
    this.newer = [];
    this.stopClock = this.older.length > 0 ? this.clock.after(TURN_TIME, () => this.turn()) : undefined;
    for (const lock of due) lock.keep();
  }
}
