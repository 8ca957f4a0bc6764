import type { StringValue } from 'ms';
import type { ReplicaPolicy } from '../store/lock-store.js';
import { LockOptionsError } from './errors.js';
import {
  duration,
  FLAG,
  LABEL,
  LIMIT,
  POLICY,
  readOption,
  refuseUnknown,
  SHORTEST_LEASE,
  SIGNAL,
  type OptionKind,
} from './option-kinds.js';

/**
 * Milliseconds, or a string such as `'30s'` or `'2 minutes'` (read by the `ms` package). A string of
 * another form, such as `'30 sek'`, does not compile. For a value from the environment:
 * `config.get<Duration>('LOCK_LEASE', '15s')`. The value is checked at the start in any case.
 */
export type Duration = number | StringValue;

/**
 * What one acquisition may ask for. An option that is left out has the value of the module's
 * option.
 */
export interface AcquireOptions {
  /**
   * How long the lock outlives a holder that has died. At least 100 ms, at most the module's
   * `quarantine`.
   *
   * @default the module's `leaseTime`, 15 s
   */
  leaseTime?: Duration | undefined;
  /**
   * How long to wait while another caller holds the lock. 0 does not wait for a holder, but up to
   * `replicaTimeout` for a Redis that is silent or being connected to. Infinity has no limit.
   *
   * @default the module's `waitTime`, 10 s; 0 for `tryAcquire`
   */
  waitTime?: Duration | undefined;
  /**
   * Renew the lock every third of the lease while it is held.
   *
   * @default the module's `renew`, true
   */
  renew?: boolean | undefined;
  /**
   * The time after the request that was granted at which renewal stops. The lock then ends with the
   * last lease, and its signal aborts.
   *
   * @default the module's `maxHoldTime`, none
   */
  maxHoldTime?: Duration | undefined;
  /**
   * A lock that is released earlier keeps the key busy until this time has passed since the request
   * that was granted.
   *
   * @default 0
   */
  minHoldTime?: Duration | undefined;
  /**
   * The replicas that must confirm, in addition to the majority of the servers.
   *
   * @default the module's `replicas`, 'all'
   */
  replicas?: ReplicaPolicy | undefined;
  /**
   * How many callers may hold the key while this lock does, itself included: 1 is a mutex, a larger
   * number a semaphore, Infinity a reader beside mutexes as writers. A caller enters only if the key
   * then has no more holders than it allows, and no more than any holder allows. Up to 1,000,000, or
   * Infinity.
   *
   * @default 1
   */
  limit?: number | undefined;
  /**
   * How long one attempt waits for confirmations.
   *
   * @default the module's `replicaTimeout`, 1 s
   */
  replicaTimeout?: Duration | undefined;
  /**
   * Ends the waiting: if the signal aborts, the promise rejects with the signal's reason.
   *
   * @default none
   */
  signal?: AbortSignal | undefined;
  /**
   * The lock's name in events, metrics and spans, such as `'order:{id}'`: one name for all keys of
   * a kind.
   *
   * @default the key template of a decorated method, else none
   */
  label?: string | undefined;
}

/** What `withLock` and decorated methods may ask for, in addition. */
export interface WithLockOptions extends AcquireOptions {
  /**
   * Join a lock on the same keys that this asynchronous context holds already.
   *
   * @default true
   */
  reentrant?: boolean | undefined;
}

/** The module's defaults, checked and in milliseconds. */
export interface LockDefaults {
  readonly leaseTime: number;
  readonly waitTime: number;
  readonly renew: boolean;
  readonly maxHoldTime: number | undefined;
  readonly replicas: ReplicaPolicy;
  readonly replicaTimeout: number;
  readonly shutdownTimeout: number;
  /** The longest lease that may be asked for; 0 permits any. */
  readonly quarantine: number;
}

/** One acquisition's options, checked and in milliseconds. */
export interface ResolvedOptions {
  readonly leaseTime: number;
  /** The longest lease that may be asked for; Infinity if any may. */
  readonly longestLease: number;
  readonly waitTime: number;
  readonly renew: boolean;
  readonly maxHoldTime: number | undefined;
  readonly minHoldTime: number;
  readonly limit: number;
  readonly replicas: ReplicaPolicy;
  readonly replicaTimeout: number;
  readonly signal: AbortSignal | undefined;
  readonly label: string | undefined;
  readonly reentrant: boolean;
}

/**
 * How each option of a call is read. An option without an entry here does not compile, and every
 * option with an entry is accepted.
 */
export const CALL_OPTIONS: {
  readonly [K in keyof Required<WithLockOptions>]: OptionKind<NonNullable<ResolvedOptions[K]>>;
} = {
  leaseTime: duration({ min: SHORTEST_LEASE }),
  waitTime: duration({ min: 0, infinite: true }),
  renew: FLAG,
  maxHoldTime: duration({ min: 1 }),
  minHoldTime: duration({ min: 0 }),
  limit: LIMIT,
  replicas: POLICY,
  replicaTimeout: duration({ min: 1 }),
  signal: SIGNAL,
  label: LABEL,
  reentrant: FLAG,
};

export const KNOWN_OPTIONS: readonly string[] = Object.keys(CALL_OPTIONS);

/** The options of a call that the module has no default for. */
const CALL_DEFAULTS = {
  minHoldTime: 0,
  limit: 1,
  signal: undefined,
  label: undefined,
  reentrant: true,
} as const;

/** Stands for the defaults while options are only checked. No lock uses these values. */
const PLACEHOLDERS: ResolvedOptions = {
  ...CALL_DEFAULTS,
  leaseTime: 0,
  longestLease: Infinity,
  waitTime: 0,
  renew: true,
  maxHoldTime: undefined,
  replicas: 'all',
  replicaTimeout: 0,
};

/** The options of an acquisition that names none. */
export function withoutOptions(defaults: LockDefaults): ResolvedOptions {
  const { leaseTime, quarantine, waitTime, renew, maxHoldTime, replicas, replicaTimeout } = defaults;
  const longestLease = quarantine === 0 ? Infinity : quarantine;
  return {
    ...CALL_DEFAULTS,
    leaseTime,
    longestLease,
    waitTime,
    renew,
    maxHoldTime,
    replicas,
    replicaTimeout,
  };
}

/** Checks options before there are defaults. Throws `LockOptionsError`. */
export function checkLockOptions(options: WithLockOptions): void {
  resolveOptions(options, PLACEHOLDERS);
}

/** Checks the options and completes them. Throws `LockOptionsError`. */
export function resolveOptions(options: WithLockOptions | undefined, base: ResolvedOptions): ResolvedOptions {
  if (options === undefined) return base;
  refuseUnknown(options, KNOWN_OPTIONS);
  const valueOf = <K extends keyof WithLockOptions>(name: K): ResolvedOptions[K] =>
    options[name] === undefined ? base[name] : readOption(name, CALL_OPTIONS[name], options[name]);
  const { leaseTime } = options;
  return {
    leaseTime: leaseTime === undefined ? base.leaseTime : leaseOf(leaseTime, base.longestLease),
    longestLease: base.longestLease,
    waitTime: valueOf('waitTime'),
    renew: valueOf('renew'),
    maxHoldTime: valueOf('maxHoldTime'),
    minHoldTime: valueOf('minHoldTime'),
    limit: valueOf('limit'),
    replicas: valueOf('replicas'),
    replicaTimeout: valueOf('replicaTimeout'),
    signal: valueOf('signal'),
    label: valueOf('label'),
    reentrant: valueOf('reentrant'),
  };
}

/**
 * Reads a `leaseTime`. Throws `LockOptionsError`, also for a lease that is longer than the
 * quarantine.
 */
export function leaseOf(value: unknown, longest = Infinity): number {
  const leaseTime = readOption('leaseTime', CALL_OPTIONS.leaseTime, value);
  if (leaseTime <= longest) return leaseTime;
  throw LockOptionsError.notAccepted(
    'leaseTime',
    value,
    `at most the option quarantine (${longest} ms), which is the longest lease of any program on this Redis. Renew a shorter lease, or raise quarantine in every program`,
  );
}
