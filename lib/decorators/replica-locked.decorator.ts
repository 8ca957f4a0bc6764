import { UseInterceptors, type ExecutionContext } from '@nestjs/common';
import type { Lock } from '../lock/lock.js';
import { ArgumentDecorators } from './argument-decorators.js';
import { withMissingLock } from './current-lock.decorator.js';
import type { LockedDecorator, UnannotatedArgument } from './decorator-types.js';
import { checkDecoratorOptions, checkKey, lockableMethod } from './definition-checks.js';
import { FunctionKeys } from './function-keys.js';
import { handlerFrames, type HandlerFrame, type Original } from './handler-frames.js';
import { needService } from './instance-services.js';
import { KeyTemplate } from './key-template.js';
import { LOCKED_METHOD, LockedMethod, type ReplicaLockedOptions } from './locked-method.js';
import type { KeySource, MethodKeys } from './method-keys.js';
import { lockedCall } from './plain-call.js';
import { ReplicaLockInterceptor } from './replica-lock.interceptor.js';
import { resultKindOf } from './result-kind.js';
import { TemplateKeys } from './template-keys.js';

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
    const name = `${target.constructor.name}.${String(property)}`;
    checkDecoratorOptions(name, options);
    checkKey(name, key);
    const decorators = new ArgumentDecorators(target, property);
    const keys = keysOf(key, name, decorators);
    const method = new LockedMethod(name, property, keys, decorators, options);
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

/** Throws `LockKeyError` if a template cannot be read. */
function keysOf(
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever arguments the method has
  key: KeySource<any[]>,
  name: string,
  decorators: ArgumentDecorators,
): MethodKeys {
  if (typeof key === 'function') return new FunctionKeys(key, name);
  const texts = typeof key === 'string' ? [key] : key;
  const templates = texts.map((text) => new KeyTemplate(text, name));
  return new TemplateKeys(templates, name, decorators);
}

function lockedFunction(target: object, method: LockedMethod, original: Original): Original {
  const kind = resultKindOf(target, method.property, original);
  return function locked(this: object, ...args: unknown[]): unknown {
    const frame = handlerFrames.getStore();
    const isHandler = frame?.instance === undefined && frame?.handler.method === method;
    if (isHandler) return frame.handler.call(this, args, original, kind);
    const work = (lock: Lock): unknown => original.apply(this, withMissingLock(method, args, lock));
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
