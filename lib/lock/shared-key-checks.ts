import type { Clock } from '../common/clock.js';

/** ms between two checks of the locks on one key. */
const CHECK_TIME = 50;
/** The most locks for which one check costs one script: with more of them, checks are rarer. */
const LOCKS_PER_SCRIPT = 64;

interface SharedLock {
  /** Asks the store whether the lock is still held, without a write. */
  watch(): void;
}

interface Pause {
  wasChanged: boolean;
  readonly stopTimer: () => void;
}

/**
 * Checks locks on keys with several holders after a change of the key. Most changes are those of the
 * other holders. A renewal would be a change itself, and the others would answer it with renewals
 * without end. So a lock is only watched, and all changes within 50 ms lead to one check.
 */
export class SharedKeyChecks {
  private readonly pauses = new Map<string, Pause>();

  constructor(
    private readonly clock: Clock,
    /** The locks on the key that may have other holders beside them. */
    private readonly locksOn: (key: string) => readonly SharedLock[],
  ) {}

  /** The key was changed. */
  changed(key: string): void {
    const pause = this.pauses.get(key);
    if (pause === undefined) this.check(key);
    else pause.wasChanged = true;
  }

  close(): void {
    for (const { stopTimer } of this.pauses.values()) stopTimer();
    this.pauses.clear();
  }

  private check(key: string): void {
    const locks = this.locksOn(key);
    if (locks.length === 0) return;
    for (const lock of locks) lock.watch();
    const time = CHECK_TIME * Math.ceil(locks.length / LOCKS_PER_SCRIPT);
    this.pauses.set(key, { wasChanged: false, stopTimer: this.clock.after(time, () => this.resume(key)) });
  }

  private resume(key: string): void {
    const { wasChanged = false } = this.pauses.get(key) ?? {};
    this.pauses.delete(key);
    if (wasChanged) this.check(key);
  }
}
