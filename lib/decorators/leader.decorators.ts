import { LEADER_METHOD, leaderMethod, type LeaderOptions } from './leader-method.js';
import { needService, noService, serviceOf } from './instance-services.js';
import { copyMetadata } from './replica-locked.decorator.js';

/**
 * Method decorator: runs the method on the one copy of the application that leads. On every other
 * copy the call resolves undefined, without a round trip to Redis. For jobs (`@Cron`, `@Interval`),
 * event listeners and other methods of providers. The copy stands for election from the start of
 * the application.
 *
 * The method runs under the lock of the term: `LockService.current`, `assertHeld` and `withLock`
 * on the same key work inside. A resignation waits for the method.
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
    const wrapper = async function leaderOnly(this: object, ...args: unknown[]): Promise<unknown> {
      const service = serviceOf(this, instanceName);
      if (service === undefined) throw noService(instanceName, name);
      return service.elect(key, method.options).runIfLeader(() => original.apply(this, args));
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
 * the lock's signal aborts: the leadership is lost or given back. See `LockElection.run`.
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
