import type { LockExceptionFactory } from '../decorators/error-responses.js';
import { LockOptionsError } from '../lock/errors.js';
import {
  duration,
  FLAG,
  POLICY,
  readOption,
  refuseUnknown,
  SHORTEST_LEASE,
  type Option,
} from '../lock/option-kinds.js';
import type { Duration, LockDefaults } from '../lock/options.js';
import type { ReplicaPolicy } from '../store/lock-store.js';
import type { RedisConnection, RedisStoreOptions } from '../store/redis/options.js';
import { ACCEPTED_CONNECTIONS, connectionOf } from './connection-option.js';

/**
 * The options of `forRoot`, and the result of the factories of `forRootAsync`. Durations are
 * milliseconds or a string such as `'30s'`.
 */
export interface ReplicaLockModuleOptions {
  /**
   * The place of the locks:
   *
   * - a `redis://` or `rediss://` URL, or the path of a unix socket,
   * - ioredis options, with those for Sentinel, or `{ nodes, options }` of a Redis Cluster,
   * - an ioredis `Redis` or `Cluster`, whose options are reused and which is neither blocked nor
   *   closed,
   * - `'memory:'`: this process, without Redis. `'memory:name'` is shared by name within the
   *   process.
   *
   * Any other value, such as a client of node-redis, is a `LockOptionsError`.
   */
  connection: RedisConnection;
  /**
   * The replicas that must confirm a new lock, in addition to the majority of the servers. `'all'`:
   * every replica that the master lists as online. `'majority'`: no more. A number: that many.
   *
   * See [WAIT](https://redis.io/docs/latest/commands/wait/) for what Redis itself promises.
   *
   * @default 'all'
   */
  replicas?: ReplicaPolicy | undefined;
  /**
   * Accept a server without replicas. The loss of that server is the loss of its locks.
   *
   * @default false
   */
  allowNoReplicas?: boolean | undefined;
  /**
   * The longest lease of any program on this Redis. A replica must have followed its master for
   * this time before its confirmation counts for a new lock. A longer `leaseTime` is refused. 0:
   * every replica counts at once, for tests and development.
   *
   * @default `leaseTime`
   */
  quarantine?: Duration | undefined;
  /**
   * How long one attempt waits for confirmations.
   *
   * @default 1 s
   */
  replicaTimeout?: Duration | undefined;
  /**
   * How long a lock outlives a holder that has died. At least 100 ms.
   *
   * @default 15 s
   */
  leaseTime?: Duration | undefined;
  /**
   * Renew locks every third of the lease while they are held.
   *
   * @default true
   */
  renew?: boolean | undefined;
  /**
   * The time after the request that was granted at which renewal stops.
   *
   * @default none
   */
  maxHoldTime?: Duration | undefined;
  /**
   * How long `acquire` waits for a busy lock. 0 does not wait for a holder, but up to
   * `replicaTimeout` for a Redis that is silent or being connected to. Infinity has no limit.
   *
   * @default 10 s
   */
  waitTime?: Duration | undefined;
  /**
   * The beginning of every key in Redis.
   *
   * @default 'lock:'
   */
  keyPrefix?: string | undefined;
  /**
   * The largest difference between the clocks of master and replicas. Keys outlive their lease by
   * it.
   *
   * @default 1 s
   */
  clockSkew?: Duration | undefined;
  /**
   * How long the shutdown waits for work that holds locks.
   *
   * @default 10 s
   */
  shutdownTimeout?: Duration | undefined;
  /**
   * Accept a server that may evict locks: `maxmemory` with a policy other than `noeviction`, see
   * [key eviction](https://redis.io/docs/latest/develop/reference/eviction/).
   *
   * @default false
   */
  allowEviction?: boolean | undefined;
  /**
   * Makes the exception that a handler throws in place of a lock's error, for example for status
   * 423 or 429.
   *
   * @default 409, 503 and so on, see docs/errors.md
   */
  exceptionFactory?: LockExceptionFactory | undefined;
  /**
   * Answer lock errors that escape from handlers without `@ReplicaLocked` as those of decorated
   * handlers are answered: 409, or 503 with Retry-After, and so on.
   *
   * @default true
   */
  answerErrors?: boolean | undefined;
}

/** The options, checked and complete. */
export interface CheckedOptions {
  readonly defaults: LockDefaults;
  readonly store: RedisStoreOptions;
}

/** The values of the module's options in the form in which the library uses them. */
interface OptionValues {
  readonly connection: RedisConnection | undefined;
  readonly replicas: ReplicaPolicy;
  readonly allowNoReplicas: boolean;
  /** Undefined: `leaseTime`. */
  readonly quarantine: number | undefined;
  readonly replicaTimeout: number;
  readonly leaseTime: number;
  readonly renew: boolean;
  readonly maxHoldTime: number | undefined;
  readonly waitTime: number;
  readonly keyPrefix: string;
  readonly clockSkew: number;
  readonly shutdownTimeout: number;
  readonly allowEviction: boolean;
  readonly exceptionFactory: LockExceptionFactory | undefined;
  readonly answerErrors: boolean;
}

/**
 * How each option of the module is read. An option without an entry here does not compile, and
 * every option with an entry is accepted.
 */
export const MODULE_OPTIONS: {
  readonly [K in keyof Required<ReplicaLockModuleOptions>]: Option<OptionValues[K]>;
} = {
  connection: { accepted: ACCEPTED_CONNECTIONS, read: connectionOf, default: undefined },
  replicas: { ...POLICY, default: 'all' },
  allowNoReplicas: { ...FLAG, default: false },
  quarantine: { ...duration({ min: 0 }), default: undefined },
  replicaTimeout: { ...duration({ min: 1 }), default: 1_000 },
  leaseTime: { ...duration({ min: SHORTEST_LEASE }), default: 15_000 },
  renew: { ...FLAG, default: true },
  maxHoldTime: { ...duration({ min: 1 }), default: undefined },
  waitTime: { ...duration({ min: 0, infinite: true }), default: 10_000 },
  keyPrefix: {
    accepted: 'a well-formed text of at most 256 characters without an unpaired brace',
    read: (value) => (isPrefix(value) ? value : undefined),
    default: 'lock:',
  },
  clockSkew: { ...duration({ min: 0 }), default: 1_000 },
  shutdownTimeout: { ...duration({ min: 0 }), default: 10_000 },
  allowEviction: { ...FLAG, default: false },
  exceptionFactory: {
    accepted: 'a function of the error and the ExecutionContext',
    read: (value) => (typeof value === 'function' ? (value as LockExceptionFactory) : undefined),
    default: undefined,
  },
  answerErrors: { ...FLAG, default: true },
};

/**
 * Checks what the user gave. Throws `LockOptionsError`, which names the option, the value and what
 * is accepted.
 */
export function checkOptions(options: ReplicaLockModuleOptions): CheckedOptions {
  if (typeof options !== 'object' || options === null) {
    throw LockOptionsError.notAccepted('options', options, 'an object with at least a connection');
  }
  refuseUnknown(options, Object.keys(MODULE_OPTIONS));
  const valueOf = <K extends keyof ReplicaLockModuleOptions>(name: K): OptionValues[K] => {
    const option: Option<OptionValues[K]> = MODULE_OPTIONS[name];
    return options[name] === undefined ? option.default : readOption(name, option, options[name]);
  };
  // Used by the error responses, which read them from the options again.
  valueOf('exceptionFactory');
  valueOf('answerErrors');
  const leaseTime = valueOf('leaseTime');
  const quarantine = atLeastTheLease(valueOf('quarantine') ?? leaseTime, options.quarantine, leaseTime);
  const replicas = valueOf('replicas');
  const replicaTimeout = valueOf('replicaTimeout');
  return {
    defaults: {
      leaseTime,
      waitTime: valueOf('waitTime'),
      renew: valueOf('renew'),
      maxHoldTime: valueOf('maxHoldTime'),
      replicas,
      replicaTimeout,
      shutdownTimeout: valueOf('shutdownTimeout'),
      quarantine,
    },
    store: {
      connection: connectionOf(options.connection),
      keyPrefix: valueOf('keyPrefix'),
      replicas,
      allowNoReplicas: valueOf('allowNoReplicas'),
      quarantine,
      replicaTimeout,
      clockSkew: valueOf('clockSkew'),
      allowEviction: valueOf('allowEviction'),
    },
  };
}

/** 0 means no quarantine, for tests and development. Any other value covers at least the lease. */
function atLeastTheLease(quarantine: number, given: unknown, leaseTime: number): number {
  if (quarantine === 0 || quarantine >= leaseTime) return quarantine;
  throw LockOptionsError.notAccepted(
    'quarantine',
    given,
    `at least the longest lease on this Redis (leaseTime is ${leaseTime} ms), or 0 for tests and development`,
  );
}

function isPrefix(value: unknown): value is string {
  // A lone { would make a hash tag together with a } of the key, and move the key to another slot.
  return (
    typeof value === 'string' &&
    value.length <= 256 &&
    value.isWellFormed() &&
    /^([^{}]|\{[^{}]+\})*$/.test(value)
  );
}
