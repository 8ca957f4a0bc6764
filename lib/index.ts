/**
 * Locks that count only once replicas confirmed them: the module, the decorators, the service and
 * the errors.
 *
 * @module nestjs-replica-lock
 */
export type { LockExceptionFactory } from './decorators/error-responses.js';
export { CurrentLock } from './decorators/current-lock.decorator.js';
export { InjectLockService } from './decorators/inject-lock-service.js';
export { getLockServiceToken } from './tokens.js';
export type { OnContended, ReplicaLockedOptions } from './decorators/locked-method.js';
export type { KeySource } from './decorators/method-keys.js';
export type { LockedDecorator, OnceDecorator, UnannotatedArgument } from './decorators/decorator-types.js';
export type { LeaderOptions } from './decorators/leader-method.js';
export { LeaderOnly, WhileLeader } from './decorators/leader.decorators.js';
export type { RunOnceOptions } from './decorators/once-method.js';
export { RunOnce } from './decorators/run-once.decorator.js';
export { ReplicaLocked } from './decorators/replica-locked.decorator.js';
export { ReplicaLockInterceptor } from './decorators/replica-lock.interceptor.js';
export {
  LockContendedError,
  LockKeyError,
  LockLostError,
  LockNotReplicatedError,
  LockOptionsError,
  LockServiceClosedError,
  LockUnavailableError,
  ReplicaLockError,
  type LockErrorCode,
} from './lock/errors.js';
export type { ElectOptions } from './lock/election-options.js';
export type { ElectionChange, LockElection } from './lock/election.js';
export type { LockEvent } from './lock/events.js';
export type { LockKeys } from './lock/keys.js';
export type { ElectionHealth, LockHealth, LockInfo } from './lock/lock-info.js';
export { LockService } from './lock/lock-service.js';
export { Lock } from './lock/lock.js';
export type { OnceOptions } from './lock/once-options.js';
export type { OnceResult } from './lock/once-result.js';
export type { AcquireOptions, Duration, WithLockOptions } from './lock/options.js';
export type { ReplicaLockModuleOptions } from './module/options.js';
export type { ReplicaLockModuleExtras } from './module/replica-lock.module-definition.js';
export { ReplicaLockModule, type ReplicaLockOptionsFactory } from './module/replica-lock.module.js';
export type {
  CommitCounts,
  MasterHealth,
  ReplicaReport,
  ReplicaPolicy,
  StoreHealth,
  StoreReport,
  Unavailable,
  Unconfirmed,
} from './store/lock-store.js';
export type { RedisConnection } from './store/redis/options.js';
