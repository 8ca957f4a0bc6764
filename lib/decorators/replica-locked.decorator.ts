import { UseInterceptors, type ExecutionContext } from '@nestjs/common';
import type { Lock } from '../lock/lock.js';
import type { LockedDecorator, UnannotatedArgument } from './decorator-types.js';
import { handlerFrames, type HandlerFrame, type Original } from './handler-frames.js';
import { needService } from './instance-services.js';
import { lockedCall } from './locked-call.js';
import { LockedMethod, type KeySource, type ReplicaLockedOptions } from './locked-method.js';
import { LOCKED_METHOD } from './locked-metadata.js';
import { ReplicaLockInterceptor } from './replica-lock.interceptor.js';
import { resultKindOf } from './result-kind.js';

/**
 * Runs the method under a lock: over all copies of the application one call at a time for each key. On controller, resolver, gateway and message handlers, and on
 * methods of any provider.
 *
 * The lock is held until the method's promise settles, even if its caller has gone; until its Observable completes, errors or is unsubscribed; until a `StreamableFile`,
 * async iterable, `ReadableStream` or `Response` that a handler returned has been sent. A call that cannot have the lock rejects as `LockService.acquire` does; over HTTP with
 * 409 or 503 and Retry-After.
 *
 * In a template a number is the method's own argument, after pipes, and a name a part of the raw request, before pipes:
 *
 * ```ts
 * @ReplicaLocked('order:{params.id}')                        // a handler: params, query, body, headers, user, ip; args in GraphQL, data in a message
 * @ReplicaLocked('report:{0}')                               // the first argument of any method
 * @ReplicaLocked((order: Order) => `order:${order.id}`)      // a function of the arguments; on a handler of its ExecutionContext
 * ```
 *
 * Throws `LockKeyError` at definition if the key cannot be read, `LockOptionsError` if an option is wrong, `TypeError` on what cannot be locked.
 */
export function ReplicaLocked(
  key: string | readonly string[],
  options?: ReplicaLockedOptions,
): LockedDecorator<[]>;
export function ReplicaLocked<A extends unknown[] = UnannotatedArgument[]>(
  key: KeySource<A>,
  options?: ReplicaLockedOptions,
): LockedDecorator<A>;
export function ReplicaLocked(
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever arguments the method has
  key: KeySource<any[]>,
  options: ReplicaLockedOptions = {},
): MethodDecorator {
  return (target, property, descriptor: PropertyDescriptor) => {
    const original = lockableMethod(target, property, descriptor);
    const method = new LockedMethod(target, property, key, options);
    const wrapper = lockedFunction(target, method, original);
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

function lockedFunction(target: object, method: LockedMethod, original: Original): Original {
  const kind = resultKindOf(target, method.property, original);
  return function locked(this: object, ...args: unknown[]): unknown {
    const frame = handlerFrames.getStore();
    const isHandler = frame?.instance === undefined && frame?.handler.method === method;
    if (isHandler) return frame.handler.call(this, args, original, kind);
    const work = (lock: Lock): unknown => original.apply(this, method.withMissingLock(args, lock));
    return lockedCall(
      { method, instance: this, args, context: contextOfSuper(frame, this, method), work },
      kind,
    );
  };
}

/** A locked handler that calls `super`'s method of the same name does so for its own request. */
function contextOfSuper(
  frame: HandlerFrame | undefined,
  instance: object,
  method: LockedMethod,
): ExecutionContext | undefined {
  if (frame?.instance !== instance) return undefined;
  const { method: caller, context } = frame.handler;
  return caller !== method && caller.property === method.property ? context : undefined;
}

function lockableMethod(
  target: object,
  property: string | symbol,
  descriptor: PropertyDescriptor | undefined,
): Original {
  const original: unknown = descriptor?.value;
  const refuse = (why: string): never => {
    const owner = typeof target === 'function' ? target.name : target.constructor.name;
    const name = typeof property === 'object' ? '' : `.${String(property)}`;
    throw new TypeError(`@ReplicaLocked on ${owner}${name}: ${why}`);
  };
  // A standard decorator is called with the method and a context.
  if (typeof property === 'object')
    refuse("set experimentalDecorators in tsconfig.json, as Nest's own decorators need it.");
  if (typeof target === 'function')
    refuse(
      'a static method has no instance to inject the LockService into. Use an instance method, or LockService.withLock.',
    );
  if (typeof original !== 'function')
    return refuse('only methods can be locked, not properties or accessors.');
  if (Object.prototype.toString.call(original) === '[object GeneratorFunction]')
    refuse(
      'a synchronous generator cannot wait for a lock. Make it an async generator (async *), or return a Promise.',
    );
  if (Reflect.hasMetadata(LOCKED_METHOD, original))
    refuse('the method is decorated with it twice. Give one of them an array of keys.');
  return original as Original;
}
