import { LockContendedError, LockServiceClosedError } from '../lock/errors.js';
import type { WithLockOptions } from '../lock/options.js';
import type { ArgumentDecorators } from './argument-decorators.js';
import type { MethodKeys } from './method-keys.js';

/** Metadata of a locked method's function: its `LockedMethod`. */
export const LOCKED_METHOD = 'nestjs-replica-lock:locked-method';

/** The result of a call whose lock stays busy: see `ReplicaLockedOptions.onContended`. */
export type OnContended = 'throw' | 'skip' | ((error: LockContendedError) => unknown);

/** The options of `@ReplicaLocked`: those of `LockService.withLock`, and two of its own. */
export interface ReplicaLockedOptions extends WithLockOptions {
  /**
   * The name of the module instance whose `LockService` takes the lock.
   * @default the unnamed instance
   */
  name?: string | undefined;
  /**
   * The result of a call if the lock stays busy for the whole `waitTime`:
   * - `'throw'`: the call rejects with the `LockContendedError`;
   * - `'skip'`: the call resolves undefined, for jobs that one copy of the application runs;
   * - a function: its result for the error.
   * @default 'throw'
   */
  onContended?: OnContended | undefined;
}

/** One locked method: everything that its `@ReplicaLocked` says. */
export class LockedMethod {
  readonly options: WithLockOptions;
  /** The name of the module instance; undefined for the unnamed one. */
  readonly instanceName: string | undefined;
  readonly onContended: OnContended;

  constructor(
    /** Class and method, for messages. */
    readonly name: string,
    readonly property: string | symbol,
    readonly keys: MethodKeys,
    /** The decorators of the method's arguments. */
    readonly decorators: ArgumentDecorators,
    { name: instanceName, onContended = 'throw', ...options }: ReplicaLockedOptions,
  ) {
    this.instanceName = instanceName;
    this.onContended = onContended;
    this.options = Object.freeze({ label: keys.label ?? name, ...options });
  }
}

/**
 * The result of a call whose lock stayed busy, by the method's `onContended`. Throws the error if
 * `onContended` is `'throw'`, and any other error of a lock.
 */
export function resultWhenContended(
  { onContended }: Pick<LockedMethod, 'onContended'>,
  error: unknown,
): unknown {
  // Schedulers go on firing until a shutdown ends: a job that skips busy ticks skips those as well.
  if (error instanceof LockServiceClosedError && onContended === 'skip') return undefined;
  if (!(error instanceof LockContendedError) || onContended === 'throw') throw error;
  return onContended === 'skip' ? undefined : onContended(error);
}
