import type { EnteredLock } from '../lock/entered-lock.js';
import { isAsyncIterable } from './streaming-results.js';
import { resultWhenContended, type LockedMethod } from './locked-method.js';
import { GONE } from './locked-subscription.js';

type Generator = AsyncGenerator<unknown, unknown>;

/** The part of `LockedMethod` that is needed here. */
type Method = Pick<LockedMethod, 'name' | 'onContended'>;

/**
 * The result of a locked async generator method. The first step takes the lock, which is held until
 * the generator has ended or the caller has left the loop. Leaving the loop during the wait for the
 * lock ends the wait.
 */
export function lockedIterable(
  method: Method,
  enter: (onWaiting: (cancel: (reason: unknown) => void) => void) => Promise<EnteredLock>,
  work: (entered: EnteredLock) => unknown,
): Generator {
  let endWait: ((reason: unknown) => void) | undefined;
  let isLeft = false;
  async function* locked(): Generator {
    let entered: EnteredLock;
    try {
      entered = await enter((end) => (endWait = end));
    } catch (error) {
      if (error === GONE) return undefined;
      const result = resultWhenContended(method, error);
      return isAsyncIterable(result) ? yield* result : result;
    }
    let failure: unknown;
    try {
      return isLeft ? undefined : yield* stepsUnder(entered, method, work);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      await entered.finish(failure);
    }
  }
  const generator = locked();
  const leave = generator.return.bind(generator);
  generator.return = (value) => {
    isLeft = true;
    endWait?.(GONE);
    return leave(value);
  };
  return generator;
}

/** Every step of the work runs under the lock, in whatever context the caller asks for the step. */
function stepsUnder(
  entered: EnteredLock,
  method: Method,
  work: (entered: EnteredLock) => unknown,
): AsyncIterable<unknown, unknown> {
  const result = entered.run(() => work(entered));
  if (!isAsyncIterable(result))
    throw new TypeError(`${method.name} is iterated, but did not return an AsyncIterable.`);
  const source: AsyncIterator<unknown, unknown> = entered.run(() => result[Symbol.asyncIterator]());
  const end = Promise.resolve({ done: true, value: undefined } as const);
  const iterator: AsyncIterableIterator<unknown, unknown> = {
    next: (...value) => entered.run(() => source.next(...value)),
    return: (value) => entered.run(() => source.return?.(value) ?? end),
    throw: (error) => entered.run(() => source.throw?.(error) ?? Promise.reject(error)),
    [Symbol.asyncIterator]: () => iterator,
  };
  return iterator;
}
