import ms from 'ms';
import type { ReplicaPolicy } from '../store/lock-store.js';
import { LockOptionsError } from './errors.js';

/** Milliseconds, or a string such as `'30s'` or `'2 minutes'` (read by the `ms` package). */
export type Duration = number | string;

/** What one acquisition may ask for; what it leaves out comes from the module's options. */
export interface AcquireOptions {
  /** How long the lock outlives a dead holder. From 100 ms to the module's `quarantine`. Default: the module's, 15 s. */
  leaseTime?: Duration | undefined;
  /** How long to wait while somebody else holds the lock; 0 does not wait for it, but up to `replicaTimeout` for a Redis that is silent or being connected to; Infinity waits for ever. Default: the module's, 10 s. */
  waitTime?: Duration | undefined;
  /** Renew every third of the lease while held. Default: the module's, true. */
  renew?: boolean | undefined;
  /** Renewing stops after this; the lock then ends with its last lease and its signal says so. Default: the module's, none. */
  maxHoldTime?: Duration | undefined;
  /** Released earlier, the key stays busy until this has passed since the acquisition. Default: 0. */
  minHoldTime?: Duration | undefined;
  /** Who must confirm, beside the majority of the servers. Default: the module's, `'all'`. */
  replicas?: ReplicaPolicy | undefined;
  /** How long one attempt waits for confirmations. Default: the module's, 1 s. */
  replicaTimeout?: Duration | undefined;
  /** Ends the waiting: the promise then rejects with its reason. */
  signal?: AbortSignal | undefined;
  /**
   * What the lock is called in events, metrics and spans, such as `'order:{id}'`: one name for all keys of a kind. Default: of a decorated method its template, else none.
   */
  label?: string | undefined;
}

/** What `withLock` and decorated methods may ask for beside that. */
export interface WithLockOptions extends AcquireOptions {
  /** Join a lock on the same key that this asynchronous context already holds. Default: true. */
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
  readonly replicas: ReplicaPolicy;
  readonly replicaTimeout: number;
  readonly signal: AbortSignal | undefined;
  readonly label: string | undefined;
  readonly reentrant: boolean;
}

const NO_DEFAULTS: ResolvedOptions = {
  leaseTime: 0,
  longestLease: Infinity,
  waitTime: 0,
  renew: true,
  maxHoldTime: undefined,
  minHoldTime: 0,
  replicas: 'all',
  replicaTimeout: 0,
  signal: undefined,
  label: undefined,
  reentrant: true,
};

export const SHORTEST_LEASE = 100;
/** About a month: what a timer can wait, and far beyond what a lease is for. */
export const LONGEST_DURATION = 2_147_483_647;

export const KNOWN_OPTIONS: readonly string[] = [
  'leaseTime',
  'waitTime',
  'renew',
  'maxHoldTime',
  'minHoldTime',
  'replicas',
  'replicaTimeout',
  'signal',
  'label',
  'reentrant',
] satisfies (keyof WithLockOptions)[];

/** What an acquisition without options of its own uses. */
export function withoutOptions(defaults: LockDefaults): ResolvedOptions {
  const { leaseTime, quarantine, waitTime, renew, maxHoldTime, replicas, replicaTimeout } = defaults;
  return {
    leaseTime,
    longestLease: quarantine === 0 ? Infinity : quarantine,
    waitTime,
    renew,
    maxHoldTime,
    minHoldTime: 0,
    replicas,
    replicaTimeout,
    signal: undefined,
    label: undefined,
    reentrant: true,
  };
}

/** Checks options before there are defaults. Throws `LockOptionsError`. */
export function checkLockOptions(options: WithLockOptions): void {
  resolveOptions(options, NO_DEFAULTS);
}

/** Checks the options and fills in what they leave out. Throws `LockOptionsError`. */
export function resolveOptions(options: WithLockOptions | undefined, base: ResolvedOptions): ResolvedOptions {
  if (options === undefined) return base;
  refuseUnknown(options, KNOWN_OPTIONS);
  const {
    leaseTime,
    waitTime,
    maxHoldTime,
    minHoldTime,
    replicaTimeout,
    replicas,
    renew,
    reentrant,
    signal,
    label,
  } = options;
  return {
    leaseTime: leaseTime === undefined ? base.leaseTime : leaseOf(leaseTime, base.longestLease),
    longestLease: base.longestLease,
    waitTime:
      waitTime === undefined ? base.waitTime : durationOf('waitTime', waitTime, { min: 0, infinite: true }),
    renew: flagOf('renew', renew, base.renew),
    maxHoldTime:
      maxHoldTime === undefined ? base.maxHoldTime : durationOf('maxHoldTime', maxHoldTime, { min: 1 }),
    minHoldTime:
      minHoldTime === undefined ? base.minHoldTime : durationOf('minHoldTime', minHoldTime, { min: 0 }),
    replicas: replicas === undefined ? base.replicas : policyOf('replicas', replicas),
    replicaTimeout:
      replicaTimeout === undefined
        ? base.replicaTimeout
        : durationOf('replicaTimeout', replicaTimeout, { min: 1 }),
    signal: signalOf(signal),
    label: labelOf(label),
    reentrant: flagOf('reentrant', reentrant, base.reentrant),
  };
}

/** Throws `LockOptionsError` for an option that is none of these. */
export function refuseUnknown(options: object, known: readonly string[]): void {
  for (const [name, value] of Object.entries(options))
    if (!known.includes(name)) throw LockOptionsError.unknown(name, value, known);
}

/** Reads a duration: milliseconds or a string for `ms`. Throws `LockOptionsError` that names the option. */
export function durationOf(
  option: string,
  value: unknown,
  { min, max = LONGEST_DURATION, infinite = false }: { min: number; max?: number; infinite?: boolean },
): number {
  const read = typeof value === 'string' ? readDuration(value) : value;
  if (typeof read === 'number' && ((read >= min && read <= max) || (infinite && read === Infinity)))
    return read;
  const range = `milliseconds from ${min} to ${max}${infinite ? ', or Infinity' : ''}`;
  throw LockOptionsError.notAccepted(option, value, `${range}, or a string such as '30s'`);
}

/** Reads a `leaseTime`. Throws `LockOptionsError`, also if it is longer than the quarantine. */
export function leaseOf(value: unknown, longest = Infinity): number {
  const leaseTime = durationOf('leaseTime', value, { min: SHORTEST_LEASE });
  if (leaseTime <= longest) return leaseTime;
  throw LockOptionsError.notAccepted(
    'leaseTime',
    value,
    `at most the option quarantine (${longest} ms), which is the longest lease of any program on this Redis. Renew a shorter lease, or raise quarantine in every program`,
  );
}

export function policyOf(option: string, value: unknown): ReplicaPolicy {
  if (value === 'all' || value === 'majority') return value;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 1_000) return value;
  throw LockOptionsError.notAccepted(option, value, "'all', 'majority' or a number of replicas");
}

export function flagOf(option: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw LockOptionsError.notAccepted(option, value, 'true or false');
}

function signalOf(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  if (typeof (value as AbortSignal | null)?.addEventListener === 'function') return value as AbortSignal;
  throw LockOptionsError.notAccepted('signal', value, 'an AbortSignal');
}

function labelOf(value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw LockOptionsError.notAccepted('label', value, 'a text that is not empty');
}

function readDuration(text: string): number | undefined {
  return text.trim() === '' ? undefined : ms(text as ms.StringValue);
}
