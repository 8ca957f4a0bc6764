import type { ExecutionContext } from '@nestjs/common';
import { isObservable, Observable } from 'rxjs';
import type { Lock } from '../lock/lock.js';
import type { LockKeys } from '../lock/keys.js';
import type { LockService } from '../lock/lock-service.js';
import { PROMISES } from './streaming-results.js';
import { resultWhenContended, type LockedMethod } from './locked-method.js';
import { enterLock, withLock } from './enter-lock.js';
import { noService, serviceOf } from './instance-services.js';
import { lockedIterable } from './locked-iterable.js';
import { AwaitableObservable } from './awaitable-observable.js';
import { asObservable, LockedSubscription } from './locked-subscription.js';
import type { ResultKind } from './result-kind.js';

/**
 * A call of a locked method that takes the lock by itself: of a provider's method, or of a handler
 * that Nest did not call.
 */
export interface PlainCall {
  readonly method: LockedMethod;
  readonly instance: unknown;
  readonly args: readonly unknown[];
  /** The context of a locked handler, if that handler calls `super`'s method of the same name. */
  readonly context: ExecutionContext | undefined;
  readonly work: (lock: Lock) => unknown;
}

/** Calls the method under its lock. The kind decides if a promise, a stream or steps come back. */
export function lockedCall(call: PlainCall, kind: ResultKind): unknown {
  switch (kind) {
    case 'promise':
      return lockedPromise(call);
    case 'observable':
      return lockedStream(call);
    case 'iterable':
      return lockedSteps(call);
    default:
      return lockedEither(call);
  }
}

function lockedPromise(call: PlainCall): Promise<unknown> {
  const { method, work } = call;
  const onResult = (result: unknown): unknown =>
    isObservable(result) ? lockedAgain(call, keys, result) : result;
  let keys: LockKeys;
  try {
    keys = keysOf(call);
    const service = serviceOrThrow(call);
    if (method.onContended === 'throw') return withLock(service, keys, method.options, work).then(onResult);
    let isCalled = false;
    const called = (lock: Lock): unknown => {
      isCalled = true;
      return work(lock);
    };
    return withLock(service, keys, method.options, called).then(onResult, (error: unknown) => {
      // The work itself failed with a contended lock, which `onContended` does not cover.
      if (isCalled) throw error;
      return resultWhenContended(method, error);
    });
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Each subscriber takes the lock, which is held while the Observable runs. */
function lockedStream(call: PlainCall): Observable<unknown> {
  return new Observable((subscriber) => {
    const subscription = new LockedSubscription(
      call.method,
      () => serviceOrThrow(call),
      subscriber,
      PROMISES,
    );
    void subscription.take(keysOf(call), ({ lock }) =>
      asObservable(subscription.callUnderLock(() => call.work(lock))),
    );
    return () => subscription.leave();
  });
}

/**
 * An Observable that the method's promise resolved with. Its work begins when it is subscribed to:
 * each subscriber takes the lock again.
 */
function lockedAgain(call: PlainCall, keys: LockKeys, source: Observable<unknown>): Observable<unknown> {
  return new Observable((subscriber) => {
    const subscription = new LockedSubscription(
      call.method,
      () => serviceOrThrow(call),
      subscriber,
      PROMISES,
    );
    void subscription.take(keys, () => source);
    return () => subscription.leave();
  });
}

function lockedSteps(call: PlainCall): AsyncGenerator<unknown, unknown> {
  return lockedIterable(
    call.method,
    async (onWaiting) => enterLock(serviceOrThrow(call), keysOf(call), call.method.options, onWaiting),
    ({ lock }) => call.work(lock),
  );
}

function lockedEither(call: PlainCall): AwaitableObservable {
  let isCalled = false;
  const watched: PlainCall = {
    ...call,
    work: (lock) => {
      isCalled = true;
      return call.work(lock);
    },
  };
  return new AwaitableObservable(
    () => lockedStream(call),
    () => lockedSteps(call),
    () => lockedPromise(watched),
    () => isCalled,
  );
}

function keysOf({ method, args, context }: PlainCall): LockKeys {
  const keys = context && method.keys.beforeCall(context);
  return keys ?? method.keys.ofCall(args, context);
}

function serviceOrThrow({ instance, method }: PlainCall): LockService {
  const service = serviceOf(instance, method.instanceName);
  if (service !== undefined) return service;
  throw noService(method.instanceName, method.name);
}
