import { UseInterceptors, type ExecutionContext } from '@nestjs/common';
import { defer, isObservable, Observable } from 'rxjs';
import type { LockService } from '../lock/lock-service.js';
import { needService, noService, serviceOf } from './instance-services.js';
import { resultWhenContended } from './contention.js';
import { handlerFrames } from './lock-frames.js';
import { LockedMethod, type KeySource, type ReplicaLockedOptions } from './locked-method.js';
import { LOCKED_METHOD } from './locked-metadata.js';
import { lockedObservable } from './locked-observable.js';
import { ReplicaLockInterceptor } from './replica-lock.interceptor.js';

// oxlint-disable-next-line typescript/no-explicit-any -- whatever the user's methods take and give
type AnyMethod = (...args: any[]) => any;
// oxlint-disable-next-line typescript/no-explicit-any -- see above
type Asynchronous = Promise<any> | Observable<any> | void;

/** Compile-time refusals, worded as the property that is missing: the compiler prints it. */
export type Lockable<M, A extends unknown[]> = M extends (...args: infer P) => infer R
  ? [R] extends [Asynchronous]
    ? A extends [ExecutionContext]
      ? unknown
      : P extends readonly [...A, ...unknown[]]
        ? unknown
        : Partial<A> extends Partial<P>
          ? unknown
          : { "the key function does not take this method's arguments": P }
    : { 'a locked method must return a Promise or an Observable, not': R }
  : never;

/**
 * Runs the method under a lock: over all copies of the application one call at a time for each key. On controller, resolver, gateway and message handlers, and on
 * methods of any provider.
 *
 * The lock is held until the method's promise settles, its Observable completes, errors or is unsubscribed, or its `StreamableFile` is sent. A call that cannot have it
 * rejects as `LockService.acquire` does; over HTTP with 409 or 503 and Retry-After.
 *
 * ```ts
 * @ReplicaLocked('order:{params.id}')                        // a handler: params, query, body, headers, user, ip
 * @ReplicaLocked('report:{0}')                               // a provider method: its arguments
 * @ReplicaLocked((order: Order) => `order:${order.id}`)      // or a function of them
 * ```
 *
 * Throws `LockKeyError` at definition where the key cannot be read, `LockOptionsError` where an option is wrong.
 */
export function ReplicaLocked<A extends unknown[] = []>(
  key: KeySource<A>,
  options: ReplicaLockedOptions = {},
): <M extends AnyMethod>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<M> & Lockable<M, A>,
) => void {
  return (target, property, descriptor: PropertyDescriptor) => {
    const where = nameOf(target, property);
    const original: unknown = descriptor?.value;
    if (typeof target === 'function') {
      throw new TypeError(
        `@ReplicaLocked on ${where}: a static method has no instance to inject the LockService into. Use an instance method, or LockService.withLock.`,
      );
    }
    if (typeof original !== 'function') {
      throw new TypeError(
        `@ReplicaLocked on ${where}: only methods can be locked, not properties or accessors.`,
      );
    }
    if (Reflect.hasMetadata(LOCKED_METHOD, original)) {
      throw new TypeError(`@ReplicaLocked twice on ${where}: give one of them an array of keys.`);
    }
    const method = new LockedMethod(where, key, options);
    const givesObservable: boolean =
      Reflect.getMetadata('design:returntype', target, property) === Observable;
    const wrapper = lockedFunction(method, original as AnyMethod, givesObservable);
    // Decorators below this one have left their metadata on the original; those above will see the wrapper.
    for (const metadataKey of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(metadataKey, Reflect.getMetadata(metadataKey, original), wrapper);
    }
    Reflect.defineMetadata(LOCKED_METHOD, method, wrapper);
    Object.defineProperty(wrapper, 'name', { value: original.name, configurable: true });
    Object.defineProperty(wrapper, 'length', { value: original.length, configurable: true });
    descriptor.value = wrapper;
    UseInterceptors(ReplicaLockInterceptor)(target, property, descriptor);
    needService(target, method.instanceName);
  };
}

function lockedFunction(method: LockedMethod, original: AnyMethod, givesObservable: boolean): AnyMethod {
  return function locked(this: unknown, ...args: unknown[]): unknown {
    const frame = handlerFrames.getStore();
    if (frame?.handler === locked && !frame.isEntered) {
      frame.isEntered = true;
      return original.apply(this, args);
    }
    return givesObservable
      ? lockedObservable(
          method,
          () => demandService(this, method),
          () => method.keysForCall(args),
          () => defer(() => original.apply(this, args) as Observable<unknown>),
        )
      : lockedPromise(this, method, () => original.apply(this, args) as unknown, args);
  };
}

async function lockedPromise(
  instance: unknown,
  method: LockedMethod,
  work: () => unknown,
  args: unknown[],
): Promise<unknown> {
  const service = demandService(instance, method);
  let hasBegun = false;
  try {
    return await service.withLock(method.keysForCall(args), method.options, async () => {
      hasBegun = true;
      const result = await work();
      if (!isObservable(result)) return result;
      throw new TypeError(
        `${method.name} is locked and returned an Observable, but its declared return type does not say so: declare it as Observable<...>, so that the lock can be held until it ends.`,
      );
    });
  } catch (error) {
    // A contended lock inside the work is the work's own affair.
    if (hasBegun) throw error;
    return resultWhenContended(method, error);
  }
}

function demandService(instance: unknown, method: LockedMethod): LockService {
  const service = serviceOf(instance, method.instanceName);
  if (service !== undefined) return service;
  throw noService(method.instanceName, method.name);
}

function nameOf(target: object, property: string | symbol): string {
  return `${typeof target === 'function' ? target.name : target.constructor.name}.${String(property)}`;
}
