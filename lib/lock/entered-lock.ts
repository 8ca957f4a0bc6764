import type { HeldLock } from './held-lock.js';
import type { LockContext } from './lock-context.js';
import { JoinedLock, type Lock } from './lock.js';

/** A lock that work can be put under, for decorators. */
export interface EnteredLock {
  readonly lock: Lock;
  /** Runs `work` under the lock. */
  run<T>(work: () => T): T;
  /**
   * Releases the lock. Throws `LockLostError` if the lock was lost meanwhile. The cause is
   * `failure`, the error of the work.
   */
  finish(failure?: unknown): Promise<void>;
}

/** Enters a lock that was taken for the work. */
export function enterTaken(lock: HeldLock, context: LockContext): EnteredLock {
  lock.enter();
  return {
    lock,
    run: (work) => context.run(lock, work),
    finish: (failure) => leave(lock, failure),
  };
}

/** Joins a lock that the context of the work holds already. */
export function join(outer: HeldLock): EnteredLock {
  outer.enter();
  return {
    lock: new JoinedLock(outer),
    run: (work) => work(),
    finish: (failure) => leave(outer, failure),
  };
}

/**
 * Runs `work` under the lock, and leaves the lock. Throws `LockLostError` if the lock was lost
 * meanwhile.
 */
export async function runUnder<T>(
  lock: HeldLock,
  context: LockContext,
  work: () => T | Promise<T>,
): Promise<T> {
  lock.enter();
  let result: T;
  try {
    result = await context.run(lock, work);
  } catch (error) {
    await leave(lock, error);
    throw error;
  }
  await leave(lock, undefined);
  return result;
}

/** The last work to leave releases: work that joined and was not awaited must not lose the lock. */
export async function leave(lock: HeldLock, failure: unknown): Promise<void> {
  // A release without an answer continues in the background, and must not lose the work's result.
  if (lock.leave()) {
    try {
      await lock.release();
    } catch {
      // An event reports the release that was not answered.
    }
  }
  const { loss } = lock;
  if (loss === undefined) return;
  if (failure === undefined || failure === loss) throw loss;
  throw loss.because(failure);
}
