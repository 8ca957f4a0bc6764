import { UseInterceptors } from '@nestjs/common';
import { LockKeyError } from '../lock/errors.js';
import type { Lock } from '../lock/lock.js';
import { ArgumentDecorators } from './argument-decorators.js';
import { argumentsWithLock, argumentsWithMissingLock } from './current-lock.decorator.js';
import type { OnceDecorator, UnannotatedArgument } from './decorator-types.js';
import { checkOnceOptions, checkSingleKey, lockableMethod } from './definition-checks.js';
import { runOnce } from './enter-lock.js';
import type { Original } from './handler-frames.js';
import { needService, noService, serviceOf } from './instance-services.js';
import { LEADER_METHOD, type LeaderMethod } from './leader-method.js';
import { LOCKED_METHOD, type LockedMethod } from './locked-method.js';
import { ONCE_METHOD, onceFrames, OnceMethod, type RunOnceOptions } from './once-method.js';
import { ReplicaLockInterceptor } from './replica-lock.interceptor.js';
import { copyMetadata, methodKeysOf } from './replica-locked.decorator.js';
import { resultKindOf } from './result-kind.js';

/**
 * Method decorator: all copies of the application together run the method once for each key, and
 * every further call within `keepFor` resolves with the result of that run. For methods of any
 * provider, and for controller, resolver, gateway and message handlers. See `LockService.once`.
 *
 * The method must return a promise of JSON. On a handler guards, interceptors and pipes run for
 * each call; only the method itself runs once. Status and headers that the method sets are not
 * kept.
 *
 * The key is that of `@ReplicaLocked`: in a template a number is one of the method's own
 * arguments, and a name is a part of the raw request.
 * @param key A template, or a function that returns one key: see `KeySource`.
 * @throws LockKeyError at definition, if the template cannot be read, or for several keys.
 * @throws LockOptionsError at definition, if an option is unknown or wrong.
 * @throws TypeError at definition, on anything but an instance method that returns a promise.
 * @example
 * ```ts
 * @RunOnce('invoice:{0}', { keepFor: '1h' })
 * async bill(orderId: string): Promise<Invoice> { ... }
 *
 * @Cron('0 * * * *')
 * @RunOnce(() => `report:${Math.round(Date.now() / HOUR)}`, { keepFor: '2h', waitTime: Infinity })
 * async report(): Promise<void> { ... } // each hour in one copy
 * ```
 */
export function RunOnce(key: string, options: RunOnceOptions): OnceDecorator<[]>;
export function RunOnce<A extends unknown[] = UnannotatedArgument[]>(
  key: string | ((...args: A) => string),
  options: RunOnceOptions,
): OnceDecorator<A>;
export function RunOnce(
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever arguments the method has
  key: string | ((...args: any[]) => string),
  options: RunOnceOptions,
): MethodDecorator {
  return (target, property, descriptor: PropertyDescriptor) => {
    const original = lockableMethod('@RunOnce', ONCE_METHOD, target, property, descriptor);
    const name = `${target.constructor.name}.${String(property)}`;
    const kind = resultKindOf(target, property, original);
    if (kind === 'observable' || kind === 'iterable')
      throw new TypeError(
        `@RunOnce on ${name}: the method must return a promise. An Observable or an iterable cannot be kept.`,
      );
    refuseSkipped(name, target, property, original);
    checkOnceOptions(name, options);
    checkSingleKey(name, key);
    const decorators = new ArgumentDecorators(target, property);
    const method = new OnceMethod(name, methodKeysOf(key, name, decorators), decorators, options);
    const wrapper = onceFunction(method, original);
    copyMetadata(original, wrapper);
    Reflect.defineMetadata(ONCE_METHOD, method, wrapper);
    descriptor.value = wrapper;
    UseInterceptors(ReplicaLockInterceptor)(target, property, descriptor);
    needService(target, method.instanceName, '@RunOnce');
  };
}

/**
 * Throws `TypeError` if a decorator below answers in the place of the method. `@RunOnce` would keep
 * that answer, and no copy would run the method until `keepFor` ends.
 */
function refuseSkipped(name: string, target: object, property: string | symbol, original: Original): void {
  const led = (Reflect.getMetadata(LEADER_METHOD, original) ??
    Reflect.getOwnMetadata(LEADER_METHOD, target, property)) as LeaderMethod | undefined;
  const locked = Reflect.getMetadata(LOCKED_METHOD, original) as LockedMethod | undefined;
  const below =
    led?.decorator === '@LeaderOnly'
      ? '@LeaderOnly'
      : locked !== undefined && locked.onContended !== 'throw'
        ? '@ReplicaLocked with onContended'
        : undefined;
  if (below !== undefined)
    throw new TypeError(
      `@RunOnce on ${name}: ${below} stands below and answers without running the method, and @RunOnce would keep that answer as the result. ` +
        `Write ${below} above @RunOnce.`,
    );
}

function onceFunction(method: OnceMethod, original: Original): Original {
  return async function once(this: object, ...args: unknown[]): Promise<unknown> {
    const frame = onceFrames.getStore();
    const context = frame?.method === method ? frame.context : undefined;
    const key = (context && method.keys.beforeCall(context)) ?? method.keys.ofCall(args, context);
    if (typeof key !== 'string')
      throw new LockKeyError(
        [],
        `The key function of ${method.name} returned several keys: @RunOnce needs one.`,
      );
    const service = serviceOf(this, method.instanceName);
    if (service === undefined) throw noService(method.instanceName, method.name);
    const work = (lock: Lock): unknown =>
      // A further call that the method makes has no request.
      onceFrames.exit(() =>
        original.apply(
          this,
          context === undefined
            ? argumentsWithMissingLock(method, args, lock)
            : argumentsWithLock(method, args, lock),
        ),
      );
    return runOnce(service, key, method.options, work, context !== undefined);
  };
}
