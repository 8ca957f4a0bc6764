import { defer, from, isObservable, Observable } from 'rxjs';
import { isAsyncGenerator } from '../lock/completion.js';
import { runEntered, type EnteredLock } from '../lock/entered-lock.js';
import { AwaitableObservable } from './awaitable-observable.js';
import { lockedIterable } from './locked-iterable.js';
import { asObservable, GONE } from './locked-subscription.js';
import type { ResultKind } from './result-kind.js';
import { isThenable } from './streaming-results.js';

/** A call of a method with `@LeaderOnly`. */
export interface LedCall {
  /** Class and method, for messages. */
  readonly name: string;
  /** Enters the term; undefined if this process does not lead. */
  readonly enter: () => EnteredLock | undefined;
  readonly work: () => unknown;
}

/**
 * Calls the method if this process leads. The result has the kind of the method's own result: a
 * promise, an Observable or an async generator. The term lasts until it has ended. If another
 * process leads, it resolves undefined, completes, or is done.
 */
export function ledCall(call: LedCall, kind: ResultKind): unknown {
  switch (kind) {
    case 'promise':
      return ledPromise(call);
    case 'observable':
      return ledStream(call);
    case 'iterable':
      return ledSteps(call);
    default:
      return ledEither(call);
  }
}

async function ledPromise(call: LedCall): Promise<unknown> {
  const entered = call.enter();
  if (entered === undefined) return undefined;
  const result = await runEntered(entered, call.work);
  const again = { ...call, work: () => result };
  if (isObservable(result)) return ledStream(again);
  return isAsyncGenerator(result) ? ledSteps(again) : result;
}

/** Each subscriber enters the term, and stays until the Observable ends or is unsubscribed. */
function ledStream({ enter, work }: LedCall): Observable<unknown> {
  return new Observable((subscriber) => {
    const entered = enter();
    if (entered === undefined) {
      subscriber.complete();
      return undefined;
    }
    let finishing: Promise<void> | undefined;
    const finish = (failure?: unknown): Promise<void> => (finishing ??= entered.finish(failure));
    /** A promise goes on although its subscriber has gone. */
    let settled: Promise<unknown> | undefined;
    const source = defer(() => {
      const result = work();
      if (!isThenable(result)) return asObservable(result);
      const promise = Promise.resolve(result);
      settled = promise.catch(() => {});
      return from(promise);
    });
    const fail = (error: unknown): void => subscriber.error(error);
    const inner = entered.run(() =>
      source.subscribe({
        next: (value) => subscriber.next(value),
        error: (error: unknown) => void finish(error).then(() => fail(error), fail),
        complete: () => void finish().then(() => subscriber.complete(), fail),
      }),
    );
    const leave = async (): Promise<void> => {
      inner.unsubscribe();
      await settled;
      await finish();
    };
    return () => void leave().catch(() => {});
  });
}

function ledSteps({ name, enter, work }: LedCall): AsyncGenerator<unknown, unknown> {
  const demandTerm = async (): Promise<EnteredLock> => {
    const entered = enter();
    if (entered === undefined) throw GONE;
    return entered;
  };
  return lockedIterable({ name, onContended: 'throw' }, demandTerm, work);
}

function ledEither(call: LedCall): AwaitableObservable {
  let isCalled = false;
  const work = (): unknown => {
    isCalled = true;
    return call.work();
  };
  return new AwaitableObservable(
    () => ledStream(call),
    () => ledSteps(call),
    () => ledPromise({ ...call, work }),
    () => isCalled,
  );
}
