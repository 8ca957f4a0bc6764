import type { Clock } from '../store/clock.js';

interface Watchable {
  watch(): void;
}

/** ms between two turns. */
const TURN_TIME = 3;

/**
 * Locks that were granted a moment ago. Those that are still held then are watched, 3 to 6 ms after their grant: most are given back before, and to have
 * each watched from the first instant would cost the server as much as the lock itself.
 */
export class FreshLocks {
  private newer: Watchable[] = [];
  private older: Watchable[] = [];
  private stopClock: (() => void) | undefined;

  constructor(private readonly clock: Clock) {}

  add(lock: Watchable): void {
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
    for (const lock of due) lock.watch();
  }
}
