import { UseInterceptors, type ExecutionContext } from '@nestjs/common';
import type { Lock } from '../lock/lock.js';
import { ArgumentDecorators } from './argument-decorators.js';
import { argumentsWithMissingLock } from './current-lock.decorator.js';
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
 * Method decorator: runs the method under a lock, so that all copies of the application together
 * run one call at a time for each key. For controller, resolver, gateway and message handlers, and
 * for methods of any provider.
 *
 * The lock is held
 * - until the method's promise settles, even if the caller has gone;
 * - until the method's Observable completes, errors or is unsubscribed;
 * - until a `StreamableFile`, async iterable, `ReadableStream` or `Response` that a handler
 *   returned has been sent.
 *
 * A call that does not get the lock rejects with the error of `LockService.acquire`. Over HTTP the
 * caller gets 409 (busy) or 503 (Redis unavailable, too few replicas) with `Retry-After`.
 *
 * In a template a number is one of the method's own arguments, after pipes. A name is a part of the
 * raw request, before pipes: `params`, `query`, `body`, `headers`, `user`, `ip`, in GraphQL also
 * `args`, in a message `data`.
 * @param key A template, an array of templates, or a function: see `KeySource`.
 * @throws LockKeyError at definition, if a template cannot be read.
 * @throws LockOptionsError at definition, if an option is unknown or wrong.
 * @throws TypeError at definition, on anything but an instance method that can wait for a lock.
 * @example
 * ```ts
 * @ReplicaLocked('order:{params.id}') // a part of the request
 * @ReplicaLocked('report:{0}') // the first argument
 * @ReplicaLocked((order: Order) => `order:${order.id}`) // a function of the arguments
 * @ReplicaLocked('nightly-report', { waitTime: 0, onContended: 'skip' }) // a job: one copy runs it
 * ```
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
    const original = lockableMethod('@ReplicaLocked', LOCKED_METHOD, target, property, descriptor);
    const name = `${target.constructor.name}.${String(property)}`;
    checkDecoratorOptions(name, options);
    checkKey(name, key);
    const decorators = new ArgumentDecorators(target, property);
    const keys = methodKeysOf(key, name, decorators);
    const method = new LockedMethod(name, property, keys, decorators, options);
    const wrapper = lockedFunction(target, method, original);
    copyMetadata(original, wrapper);
    Reflect.defineMetadata(LOCKED_METHOD, method, wrapper);
    descriptor.value = wrapper;
    UseInterceptors(ReplicaLockInterceptor)(target, property, descriptor);
    needService(target, method.instanceName);
  };
}

/**
 * Gives the wrapper what the original function has. Decorators below have put their metadata on the
 * original function, and decorators above will see the wrapper.
 */
export function copyMetadata(original: Original, wrapper: Original): void {
  for (const metadataKey of Reflect.getMetadataKeys(original)) {
    Reflect.defineMetadata(metadataKey, Reflect.getMetadata(metadataKey, original), wrapper);
  }
  Object.defineProperty(wrapper, 'name', { value: original.name, configurable: true });
  Object.defineProperty(wrapper, 'length', { value: original.length, configurable: true });
}

/** Throws `LockKeyError` if a template cannot be read. */
export function methodKeysOf(
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
    const work = (lock: Lock): unknown => original.apply(this, argumentsWithMissingLock(method, args, lock));
    return lockedCall(
      { method, instance: this, args, context: contextOfSuper(frame, this, method), work },
      kind,
    );
  };
}

/**
 * The handler's context, if a locked handler calls `super`'s locked method of the same name: the
 * keys of that method come from the handler's request as well.
 */
function contextOfSuper(
  frame: HandlerFrame | undefined,
  instance: object,
  method: LockedMethod,
): ExecutionContext | undefined {
  if (frame?.instance !== instance) return undefined;
  const { method: caller, context } = frame.handler;
  return caller !== method && caller.property === method.property ? context : undefined;
}
