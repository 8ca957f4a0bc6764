import type { ExecutionContext } from '@nestjs/common';
import { LockKeyError, LockOptionsError, type LockContendedError } from '../lock/errors.js';
import type { LockKeys } from '../lock/lock-service.js';
import { checkLockOptions, KNOWN_OPTIONS, refuseUnknown, type WithLockOptions } from '../lock/options.js';
import { MOST_KEYS } from '../store/lock-store.js';
import { KeyTemplate, type PlaceSource } from './key-template.js';

/** What happens when the lock stays busy: the error, nothing, or what this function makes of the error. */
export type OnContended = 'throw' | 'skip' | ((error: LockContendedError) => unknown);

export interface ReplicaLockedOptions extends WithLockOptions {
  /** The named instance whose `LockService` takes the lock. Default: the unnamed one. */
  name?: string | undefined;
  /** `'throw'` (default): the error; `'skip'`: the method resolves undefined, for jobs; a function: its result. */
  onContended?: OnContended | undefined;
}

/** A template, several, or a function: of the `ExecutionContext` on a handler, of the method's own arguments on a provider method. */
export type KeySource<A extends unknown[]> = string | readonly string[] | ((...args: A) => LockKeys);

/** What `@ReplicaLocked` says of one method. */
export class LockedMethod {
  readonly options: WithLockOptions;
  readonly instanceName: string | undefined;
  readonly onContended: OnContended;
  private readonly templates: readonly KeyTemplate[] | undefined;

  constructor(
    /** Class and method, for messages. */
    readonly name: string,
    // oxlint-disable-next-line typescript/no-explicit-any -- whatever arguments the method has
    private readonly key: KeySource<any[]>,
    given: ReplicaLockedOptions,
  ) {
    checkGiven(name, given);
    const { name: instanceName, onContended = 'throw', ...options } = given;
    this.instanceName = instanceName;
    this.onContended = onContended;
    this.options = {
      label: typeof key === 'string' ? key : Array.isArray(key) ? key.join(' ') : name,
      ...options,
    };
    if (typeof key === 'function') return;
    const sources: readonly unknown[] = typeof key === 'string' ? [key] : key;
    if (!Array.isArray(sources) || sources.length === 0 || sources.some((each) => typeof each !== 'string')) {
      throw new LockKeyError(
        [],
        `@ReplicaLocked on ${name} needs a key: a template, a non-empty array of them, or a function.`,
      );
    }
    if (sources.length > MOST_KEYS) {
      throw new LockKeyError(
        [],
        `@ReplicaLocked on ${name} has ${sources.length} keys: ${MOST_KEYS} are the most. Lock one key that stands for all of them.`,
      );
    }
    this.templates = (sources as string[]).map((each) => new KeyTemplate(each, name));
  }

  keysForHandler(context: ExecutionContext): LockKeys {
    return this.keys({ kind: 'handler', context }, [context]);
  }

  keysForCall(args: readonly unknown[]): LockKeys {
    return this.keys({ kind: 'method', args }, args);
  }

  private keys(source: PlaceSource, args: readonly unknown[]): LockKeys {
    if (this.templates === undefined) return (this.key as (...args: readonly unknown[]) => LockKeys)(...args);
    return this.templates.map((template) => template.fill(source));
  }
}

/** Throws `LockOptionsError` that names the method: what is wrong in the source is not to wait for the first call. */
function checkGiven(where: string, given: ReplicaLockedOptions): void {
  try {
    refuseUnknown(given, [...KNOWN_OPTIONS, 'name', 'onContended']);
    const { name, onContended, ...options } = given;
    if (name !== undefined && typeof name !== 'string')
      throw LockOptionsError.notAccepted('name', name, 'the name of an instance');
    if (
      onContended !== undefined &&
      !['throw', 'skip'].includes(onContended as string) &&
      typeof onContended !== 'function'
    )
      throw LockOptionsError.notAccepted(
        'onContended',
        onContended,
        "'throw', 'skip' or a function of the error",
      );
    checkLockOptions(options);
  } catch (error) {
    if (!(error instanceof LockOptionsError)) throw error;
    throw new LockOptionsError(error.option, error.value, `@ReplicaLocked on ${where}: ${error.message}`);
  }
}
