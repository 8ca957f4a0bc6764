import type { ElectOptions } from '../lock/election-options.js';
import type { EnteredLock } from '../lock/entered-lock.js';
import type { LockKeys } from '../lock/keys.js';
import { LockService } from '../lock/lock-service.js';
import type { Lock } from '../lock/lock.js';
import type { OnceOptions } from '../lock/once-options.js';
import type { OnceResult } from '../lock/once-result.js';
import type { WithLockOptions } from '../lock/options.js';

type OnWaiting = (cancel: (reason: unknown) => void) => void;
type LockedWork = (lock: Lock) => unknown;

/** Takes the lock, or joins the lock that this asynchronous context holds already. */
export function enterLock(
  service: LockService,
  keys: LockKeys,
  options: WithLockOptions,
  onWaiting: OnWaiting,
): Promise<EnteredLock> {
  return service instanceof LockService
    ? service.enter(keys, options, onWaiting)
    : enterDouble(service, keys, options);
}

/**
 * Takes the lock for a request from outside, which never joins a lock. The asynchronous context may
 * hold a lock that the request only inherited: a server that began to listen inside `withLock`
 * hands that context to every request.
 */
export function enterLockAnew(
  service: LockService,
  keys: LockKeys,
  options: WithLockOptions,
  onWaiting: OnWaiting,
): Promise<EnteredLock> {
  const enter = (): Promise<EnteredLock> => enterLock(service, keys, options, onWaiting);
  return service instanceof LockService ? service.outside(enter) : enter();
}

/** Runs the work under the lock, or under the lock that this asynchronous context holds already. */
export function withLock(
  service: LockService,
  keys: LockKeys,
  options: WithLockOptions,
  work: LockedWork,
): Promise<unknown> {
  return service instanceof LockService
    ? service.withLock(keys, options, work)
    : withDouble(service, keys, options, work);
}

/**
 * Runs the work once, and resolves with its result. `isRequest`: a request from outside, for which
 * see `enterLockAnew`.
 */
export async function runOnce(
  service: LockService,
  key: string,
  options: OnceOptions,
  work: LockedWork,
  isRequest: boolean,
): Promise<unknown> {
  const double: ServiceDouble = service;
  const run = (): Promise<OnceResult<unknown> | undefined> | undefined => double.once?.(key, options, work);
  const end = await (isRequest && service instanceof LockService ? service.outside(run) : run());
  if (end !== undefined) return end.result;
  throw new Error(
    `The object in place of LockService did not run the work of '${key}' once: ` +
      "give it a once(key, options, work) that resolves with { result, ran }, or use TestLocks of 'nestjs-replica-lock/testing'.",
  );
}

/**
 * Enters the term of the election on this key. Undefined if this process does not lead, or has
 * resigned.
 */
export function enterTerm(
  service: LockService,
  key: string,
  options: ElectOptions | undefined,
): EnteredLock | undefined {
  if (service instanceof LockService) return service.elections.ofDecorator(key, options)?.enter();
  const double: ServiceDouble = service;
  const election = double.elect?.(key, options);
  if (election === undefined)
    throw new Error(
      `The object in place of LockService does not stand for the election '${key}': ` +
        "give it an elect(key, options) that returns { isLeader, term }, or use TestLocks of 'nestjs-replica-lock/testing'.",
    );
  if (!election.isLeader) return undefined;
  return { lock: election.term!, run: (work) => work(), finish: async () => {} };
}

/** The object that a test may have put in place of the service. */
type ServiceDouble = Partial<Pick<LockService, 'withLock' | 'once' | 'elect'>>;

function enterDouble(double: ServiceDouble, keys: LockKeys, options: WithLockOptions): Promise<EnteredLock> {
  return new Promise((resolve, reject) => {
    const held = (lock: Lock): Promise<void> =>
      new Promise((end) => {
        resolve({ lock, run: (work) => work(), finish: async () => end() });
      });
    withDouble(double, keys, options, held).catch(reject);
  });
}

/** Rejects if the double does not run the work: functions of mocking libraries do not. */
async function withDouble(
  double: ServiceDouble,
  keys: LockKeys,
  options: WithLockOptions,
  work: LockedWork,
): Promise<unknown> {
  let isCalled = false;
  const called: LockedWork = (lock) => {
    isCalled = true;
    return work(lock);
  };
  const result: unknown = await double.withLock?.(keys, options, called);
  if (isCalled) return result;
  throw new Error(
    `The object in place of LockService did not run the work of lock '${[keys].flat().join("', '")}': ` +
      "give it a withLock(key, options, work) that calls work, or use TestLocks of 'nestjs-replica-lock/testing'.",
  );
}
