import { AsyncLocalStorage } from 'node:async_hooks';
import { namesOf } from '../store/key-names.js';
import { lockOf } from './error-texts.js';
import { LockKeyError } from './errors.js';
import type { HeldLock } from './held-lock.js';

interface Frame {
  readonly lock: HeldLock;
  readonly outer: Frame | undefined;
}

/** The locks that an asynchronous context runs under, the innermost first. */
export class LockContext {
  private readonly storage = new AsyncLocalStorage<Frame>();

  /** Runs `work`, and everything that the work starts, under the lock. */
  run<T>(lock: HeldLock, work: () => T): T {
    // Locks that have ended cannot be joined. If work starts its own next run, all ended locks
    // would stay in memory.
    let outer = this.storage.getStore();
    while (outer?.lock.hasEnded === true) outer = outer.outer;
    return this.storage.run({ lock, outer }, work);
  }

  /** Runs `work` as if this context ran under no lock. */
  outside<T>(work: () => T): T {
    return this.storage.exit(work);
  }

  /**
   * Forgets all locks. Node goes through every storage in use for each new promise, so a storage that
   * is left behind slows down the whole process.
   */
  close(): void {
    this.storage.disable();
  }

  /**
   * The innermost lock that this context runs under and still holds. With `key`: the lock on that
   * key. With `most`: a lock with this limit or a smaller one.
   */
  find(key?: string, most = Infinity): HeldLock | undefined {
    for (let frame = this.storage.getStore(); frame !== undefined; frame = frame.outer) {
      const { lock } = frame;
      if (lock.held && (key === undefined || lock.keys.includes(key)) && lock.limit <= most) return lock;
    }
    return undefined;
  }

  /**
   * Throws `LockKeyError` if this context holds one of the keys with a larger limit: the request
   * could wait for its own context.
   */
  refuseStricter(keys: readonly string[], limit: number): void {
    for (const key of keys) {
      const lock = this.find(key);
      if (lock !== undefined && lock.limit > limit) throw LockKeyError.stricter(keys, limit, lock.limit);
    }
  }

  /**
   * The lock that a request for these keys joins; undefined if the lock must be taken. A context
   * that holds some of the keys and asks for more leaves the sorted order in which several keys are
   * taken. The request could wait for a caller that waits for this context, and is refused. So is a
   * request with a smaller limit than the lock that the context holds.
   */
  joinable(keys: readonly string[], limit: number): HeldLock | undefined {
    let held: HeldLock | undefined;
    for (const key of keys) {
      const lock = this.find(key, limit);
      if (lock !== undefined && keys.every((each) => lock.keys.includes(each))) return lock;
      held ??= lock ?? this.find(key);
    }
    if (held === undefined) return undefined;
    this.refuseStricter(keys, limit);
    throw new LockKeyError(
      keys,
      `${lockOf(keys)} cannot be taken together here: this context holds ` +
        `${namesOf(held.keys)} already, and waiting for the rest could deadlock. Take all of them at the outermost place.`,
    );
  }
}
