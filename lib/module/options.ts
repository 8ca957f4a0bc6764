import type { LockExceptionFactory } from '../decorators/error-responses.js';
import { LockOptionsError } from '../lock/errors.js';
import {
  durationOf,
  flagOf,
  leaseOf,
  policyOf,
  refuseUnknown,
  type Duration,
  type LockDefaults,
} from '../lock/options.js';
import type { ReplicaPolicy } from '../store/lock-store.js';
import type { RedisConnection, RedisStoreOptions } from '../store/redis/options.js';
import { connectionOf } from './connection-option.js';

/** What `forRoot` and the factories of `forRootAsync` are given. Durations are milliseconds or a string such as `'30s'`. */
export interface ReplicaLockModuleOptions {
  /**
   * Where the locks live: a `redis://` or `rediss://` URL, the path of a unix socket, ioredis options (Sentinel's among them), `{ nodes, options }` for a Redis
   * Cluster, an ioredis `Redis` or `Cluster` (its options are reused; the instance itself is neither blocked nor closed), or `'memory:'`: this process, without
   * Redis (`'memory:name'` is shared by name within the process). Anything else, such as a client of node-redis, is a `LockOptionsError`.
   */
  connection: RedisConnection;
  /**
   * Who must confirm a new lock, beside the majority of the servers. `'all'`: every replica that the master lists as online; `'majority'`: nobody more; a number: that
   * many. Default: `'all'`.
   */
  replicas?: ReplicaPolicy | undefined;
  /** Permits a server without replicas, whose loss is the loss of its locks. Default: false. */
  allowNoReplicas?: boolean | undefined;
  /**
   * The longest lease of any program on this Redis. For so long a replica must have followed its
   * master before its confirmation counts for a new lock. A longer `leaseTime` is refused.
   * 0: every replica counts at once, for tests and development. Default: `leaseTime`.
   */
  quarantine?: Duration | undefined;
  /** How long one attempt waits for confirmations. Default: 1 s. */
  replicaTimeout?: Duration | undefined;
  /** How long a lock outlives a dead holder; at least 100 ms. Default: 15 s. */
  leaseTime?: Duration | undefined;
  /** Renew every third of the lease while held. Default: true. */
  renew?: boolean | undefined;
  /** Renewing stops after this. Default: never. */
  maxHoldTime?: Duration | undefined;
  /** How long `acquire` waits for a busy lock; 0 does not wait for it, but up to `replicaTimeout` for a Redis that is silent or being connected to; Infinity waits for ever. Default: 10 s. */
  waitTime?: Duration | undefined;
  /** What every key begins with in Redis. Default: `'lock:'`. */
  keyPrefix?: string | undefined;
  /** How far the clocks of master and replicas may differ: keys outlive their lease by it. Default: 1 s. */
  clockSkew?: Duration | undefined;
  /** How long shutdown waits for work that holds locks. Default: 10 s. */
  shutdownTimeout?: Duration | undefined;
  /** Accept a server that may evict locks (`maxmemory` with a policy other than `noeviction`). Default: false. */
  allowEviction?: boolean | undefined;
  /** What handlers throw in place of a lock's error: for those who want 423 or 429 rather than 409. Default: 409, 503 and so on, see the README. */
  exceptionFactory?: LockExceptionFactory | undefined;
  /**
   * Answer lock errors that escape from handlers without `@ReplicaLocked` as those of decorated
   * ones are: 409 or 503 with Retry-After, and so on. Default: true.
   */
  answerErrors?: boolean | undefined;
}

/** The options, checked and complete. */
export interface CheckedOptions {
  readonly defaults: LockDefaults;
  readonly store: RedisStoreOptions;
}

const KNOWN: readonly (keyof ReplicaLockModuleOptions)[] = [
  'connection',
  'replicas',
  'allowNoReplicas',
  'quarantine',
  'replicaTimeout',
  'leaseTime',
  'renew',
  'maxHoldTime',
  'waitTime',
  'keyPrefix',
  'clockSkew',
  'shutdownTimeout',
  'allowEviction',
  'exceptionFactory',
  'answerErrors',
];

/** Checks what the user gave. Throws `LockOptionsError` that names the option, the value and what is accepted. */
export function checkOptions(options: ReplicaLockModuleOptions): CheckedOptions {
  if (typeof options !== 'object' || options === null) {
    throw LockOptionsError.notAccepted('options', options, 'an object with at least a connection');
  }
  refuseUnknown(options, KNOWN);
  const { exceptionFactory } = options;
  if (exceptionFactory !== undefined && typeof exceptionFactory !== 'function')
    throw LockOptionsError.notAccepted(
      'exceptionFactory',
      exceptionFactory,
      'a function of the error and the ExecutionContext',
    );
  flagOf('answerErrors', options.answerErrors, true);
  const duration = (
    name: keyof ReplicaLockModuleOptions,
    fallback: number,
    min: number,
    infinite = false,
  ): number => (options[name] === undefined ? fallback : durationOf(name, options[name], { min, infinite }));
  const leaseTime = options.leaseTime === undefined ? 15_000 : leaseOf(options.leaseTime);
  const quarantine =
    options.quarantine === undefined ? leaseTime : quarantineOf(options.quarantine, leaseTime);
  const replicas = options.replicas === undefined ? 'all' : policyOf('replicas', options.replicas);
  const replicaTimeout = duration('replicaTimeout', 1_000, 1);
  return {
    defaults: {
      leaseTime,
      waitTime: duration('waitTime', 10_000, 0, true),
      renew: flagOf('renew', options.renew, true),
      maxHoldTime: options.maxHoldTime === undefined ? undefined : duration('maxHoldTime', 0, 1),
      replicas,
      replicaTimeout,
      shutdownTimeout: duration('shutdownTimeout', 10_000, 0),
      quarantine,
    },
    store: {
      connection: connectionOf(options.connection),
      keyPrefix: prefixOf(options.keyPrefix),
      replicas,
      allowNoReplicas: flagOf('allowNoReplicas', options.allowNoReplicas, false),
      quarantine,
      replicaTimeout,
      clockSkew: duration('clockSkew', 1_000, 0),
      allowEviction: flagOf('allowEviction', options.allowEviction, false),
    },
  };
}

/** 0 is none, for tests and development; anything else covers at least the lease. */
function quarantineOf(value: unknown, leaseTime: number): number {
  const quarantine = durationOf('quarantine', value, { min: 0 });
  if (quarantine === 0 || quarantine >= leaseTime) return quarantine;
  throw LockOptionsError.notAccepted(
    'quarantine',
    value,
    `at least the longest lease on this Redis (leaseTime is ${leaseTime} ms), or 0 for tests and development`,
  );
}

function prefixOf(prefix: unknown = 'lock:'): string {
  // A lone { would make a hash tag together with a } of the key, and move it to another slot.
  if (
    typeof prefix === 'string' &&
    prefix.length <= 256 &&
    prefix.isWellFormed() &&
    /^([^{}]|\{[^{}]+\})*$/.test(prefix)
  )
    return prefix;
  throw LockOptionsError.notAccepted(
    'keyPrefix',
    prefix,
    'a well-formed text of at most 256 characters without an unpaired brace',
  );
}
