import type { EnteredLock } from '../lock/entered-lock.js';
import { enterTerm } from './enter-lock.js';
import { needService, noService, serviceOf } from './instance-services.js';
import { LEADER_METHOD, leaderMethod, type LeaderOptions } from './leader-method.js';
import { ledCall } from './led-call.js';
import { copyMetadata } from './replica-locked.decorator.js';
import { resultKindOf } from './result-kind.js';

/**
 * Method decorator: runs the method on the one copy of the application that leads. On every other
 * copy the call resolves undefined, without a round trip to Redis. For jobs (`@Cron`, `@Interval`),
 * event listeners and other methods of providers. The copy stands for election from the start of
 * the application.
 *
 * The method runs under the lock of the term: `LockService.current`, `assertHeld` and `withLock`
 * on the same key work inside. A resignation waits for the method: for its promise, its Observable
 * or its async generator. After `LockElection.resign` the method does not run before
 * `LockService.elect` stands again.
 *
 * @param key The key of the election: a fixed text.
 * @throws TypeError at definition or start, on a handler: a caller would get an empty answer.
 * @throws LockKeyError or LockOptionsError at definition, if the key or an option is not accepted.
 * @example
 * ```ts
 * @Interval(10_000)
 * @LeaderOnly('scheduler')
 * async sweep(): Promise<void> {}
 * ```
 */
export function LeaderOnly(key: string, options: LeaderOptions = {}): MethodDecorator {
  return (target, property, descriptor: PropertyDescriptor) => {
    const { method, original } = leaderMethod('@LeaderOnly', target, property, descriptor, key, options);
    const { instanceName, name } = method;
    const kind = resultKindOf(target, property, original);
    const wrapper = function leaderOnly(this: object, ...args: unknown[]): unknown {
      const enter = (): EnteredLock | undefined => {
        const service = serviceOf(this, instanceName);
        if (service === undefined) throw noService(instanceName, name);
        return enterTerm(service, key, method.options);
      };
      return ledCall({ name, enter, work: () => original.apply(this, args) }, kind);
    };
    copyMetadata(original, wrapper);
    Reflect.defineMetadata(LEADER_METHOD, method, wrapper);
    descriptor.value = wrapper;
    needService(target, instanceName, '@LeaderOnly');
  };
}

/**
 * Method decorator: calls the method with the `Lock` of the term each time that this copy is
 * elected, for work that lasts as long as the term (a consumer, a watcher). The work must end when
 * the lock's signal aborts: the leadership is lost or given back. See `LockElection.run`. The
 * provider is a singleton. What the work needs must be ready after `onModuleInit`, and must not be
 * closed before `onApplicationShutdown`.
 *
 * @param key The key of the election: a fixed text. One method for each key and instance.
 * @throws as `LeaderOnly`.
 * @example
 * ```ts
 * @WhileLeader('consumer')
 * async consume(term: Lock): Promise<void> {
 *   while (!term.signal.aborted) await this.next(term.signal);
 * }
 * ```
 */
export function WhileLeader(key: string, options: LeaderOptions = {}): MethodDecorator {
  return (target, property, descriptor: PropertyDescriptor) => {
    const { method, original } = leaderMethod('@WhileLeader', target, property, descriptor, key, options);
    Reflect.defineMetadata(LEADER_METHOD, method, original);
    needService(target, method.instanceName, '@WhileLeader');
  };
}
