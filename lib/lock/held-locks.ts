import type { Clock } from '../common/clock.js';
import { IntrusiveSet } from '../common/intrusive-set.js';
import { MultiMap } from '../common/multi-map.js';
import { concerns, type KeyChange } from '../store/lock-store.js';
import type { HeldLock } from './held-lock.js';
import { NewLocks } from './new-locks.js';
import { SharedKeyChecks } from './shared-key-checks.js';

/** Locks that are given up in one turn of the event loop when the application ends. */
const LOCKS_PER_TURN = 100;

/** The locks that one service holds. */
export class HeldLocks {
  private readonly locks = new IntrusiveSet<'index', HeldLock>('index');
  /**
   * One lock for each key, unless its limit is larger. A lock whose key was taken is here until its
   * loss is noticed, and by then this process may hold the key again.
   */
  private readonly byKey = new MultiMap<string, HeldLock>();
  private readonly newLocks: NewLocks<HeldLock>;
  private readonly sharedChecks: SharedKeyChecks;
  private onAllReleased: () => void = () => {};

  constructor(private readonly clock: Clock) {
    this.newLocks = new NewLocks(clock);
    this.sharedChecks = new SharedKeyChecks(clock, (key) => this.byKey.of(key).filter(isShared));
  }

  add(lock: HeldLock): void {
    this.locks.add(lock);
    for (const key of lock.keys) this.byKey.add(key, lock);
    // After a late grant on a busy event loop, the turn that would start the renewal is too late.
    if (lock.wasGrantedLate) lock.startUpkeep();
    else this.newLocks.add(lock);
  }

  delete(lock: HeldLock): void {
    this.locks.delete(lock);
    for (const key of lock.keys) this.byKey.delete(key, lock);
    if (this.locks.size === 0) this.onAllReleased();
  }

  /** The locks that are certainly held now. */
  get held(): readonly HeldLock[] {
    return [...this.locks].filter((lock) => lock.held);
  }

  /** Has every lock checked that the change may concern. */
  check(change: KeyChange): void {
    if ('key' in change) this.checkKey(change.key);
    else if (change.isUnreachable !== true)
      for (const lock of this.locks) if (lock.keys.some((key) => concerns(change, key))) lock.check();
  }

  private checkKey(key: string): void {
    const locks = this.byKey.of(key);
    if (locks.some(isShared)) this.sharedChecks.changed(key);
    for (const lock of locks) if (!isShared(lock)) lock.check();
  }

  /** Resolves when no lock is held any more, or after `timeout` ms. */
  async allReleased(timeout: number): Promise<void> {
    if (this.locks.size === 0) return;
    await new Promise<void>((resolve) => {
      const stopTimer = this.clock.after(timeout, resolve);
      this.onAllReleased = () => {
        stopTimer();
        resolve();
      };
    });
  }

  /** Tells the holder of every lock that is left that the lock is lost, and gives the lock back. */
  async loseAll(why: string): Promise<void> {
    let lost = 0;
    for (const lock of this.locks) {
      if (lock.hasEnded) continue;
      lock.lose(why, { takeBack: true });
      // Tens of thousands of locks at once would block the event loop until connections time out.
      if (++lost % LOCKS_PER_TURN === 0) await new Promise<void>((resolve) => this.clock.after(0, resolve));
    }
  }

  close(): void {
    this.newLocks.close();
    this.sharedChecks.close();
  }
}

function isShared({ limit }: HeldLock): boolean {
  return limit !== 1;
}
