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
export function runUnder<T>(lock: HeldLock, context: LockContext, work: () => T | Promise<T>): Promise<T> {
  return runEntered(enterTaken(lock, context), work);
}

/** As `runUnder`, for a lock that was entered for the work. */
export async function runEntered<T>(entered: EnteredLock, work: () => T | Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await entered.run(work);
  } catch (error) {
    await entered.finish(error);
    throw error;
  }
  await entered.finish();
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
