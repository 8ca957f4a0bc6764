import { LockOptionsError } from './errors.js';
import { duration, readOption, refuseUnknown } from './option-kinds.js';
import type { Duration, WithLockOptions } from './options.js';

/**
 * How one process stands for an election. An option that is left out has the value of the module's
 * option.
 */
export interface ElectOptions {
  /**
   * How long the leadership outlives a leader that has died. At least 100 ms, at most the module's
   * `quarantine`.
   *
   * @default the module's `leaseTime`, 15 s
   */
  leaseTime?: Duration | undefined;
  /**
   * The replicas that must confirm, in addition to the majority of the servers.
   *
   * @default the module's `replicas`, 'all'
   */
  replicas?: WithLockOptions['replicas'];
  /**
   * How long one attempt waits for confirmations.
   *
   * @default the module's `replicaTimeout`, 1 s
   */
  replicaTimeout?: Duration | undefined;
  /**
   * The name of the election in metrics and spans.
   *
   * @default the key
   */
  label?: string | undefined;
  /**
   * The pause before this process stands again, after a failure of Redis or after the work of a
   * term ended. Between half of this time and all of it.
   *
   * @default 2 s
   */
  retryTime?: Duration | undefined;
}

/** A term lasts until its leader resigns or loses it. */
export const LEADING = { renew: true, maxHoldTime: undefined } as const;

const NAMES = ['leaseTime', 'replicas', 'replicaTimeout', 'label', 'retryTime'];
const DEFAULT_RETRY_TIME = 2_000;

/** The checked options of an election. */
export interface CheckedElectOptions {
  /** The options of the lock of a term. */
  readonly lock: WithLockOptions;
  /** ms */
  readonly retryTime: number;
}

/** Throws `LockOptionsError`. The lock's own options are checked when they are resolved. */
export function checkElectOptions(key: string, options: ElectOptions = {}): CheckedElectOptions {
  refuseUnknown(options, NAMES);
  const { retryTime = DEFAULT_RETRY_TIME, label = key, ...lock } = options;
  if (options.label === '') throw LockOptionsError.notAccepted('label', '', 'a text that is not empty');
  return {
    lock: { ...lock, label, waitTime: Infinity },
    retryTime: readOption('retryTime', duration({ min: 1 }), retryTime),
  };
}
