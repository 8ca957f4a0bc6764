import { LockKeyError, LockOptionsError } from '../lock/errors.js';
import { refuseUnknown } from '../lock/option-kinds.js';
import { readOnceOptions } from '../lock/once-options.js';
import { checkLockOptions, KNOWN_OPTIONS } from '../lock/options.js';
import { MOST_KEYS } from '../store/lock-store.js';
import type { Original } from './handler-frames.js';
import type { ReplicaLockedOptions } from './locked-method.js';
import type { RunOnceOptions } from './once-method.js';

// The checks of the decorators when a class is defined. A mistake in the source then shows at start
// and not at the first call. `KeyTemplate` refuses a template that cannot be read.

/**
 * The decorated method. Throws `TypeError` if a lock cannot be put around what is decorated.
 * `metadata`: the metadata of a method that has the decorator already.
 */
export function lockableMethod(
  decorator: string,
  metadata: string,
  target: object,
  property: string | symbol,
  descriptor: PropertyDescriptor | undefined,
): Original {
  const original: unknown = descriptor?.value;
  const refuse = (why: string): never => {
    const owner = typeof target === 'function' ? target.name : target.constructor.name;
    const name = typeof property === 'object' ? '' : `.${String(property)}`;
    throw new TypeError(`${decorator} on ${owner}${name}: ${why}`);
  };
  // A standard decorator is called with the method and a context object.
  if (typeof property === 'object')
    refuse("set experimentalDecorators in tsconfig.json, as Nest's own decorators need it.");
  if (typeof target === 'function')
    refuse(
      'a static method has no instance to inject the LockService into. Use an instance method, or LockService.withLock.',
    );
  if (typeof original !== 'function')
    return refuse('only methods can be locked, not properties or accessors.');
  if (Object.prototype.toString.call(original) === '[object GeneratorFunction]')
    refuse(
      'a synchronous generator cannot wait for a lock. Make it an async generator (async *), or return a Promise.',
    );
  if (Reflect.hasMetadata(metadata, original))
    refuse('the method has this decorator twice. Use one decorator with an array of keys.');
  return original as Original;
}

/** Throws `LockOptionsError` for an option that is unknown or wrong. The error names the method. */
export function checkDecoratorOptions(method: string, given: ReplicaLockedOptions): void {
  checkAt(`@ReplicaLocked on ${method}`, () => {
    refuseUnknown(given, [...KNOWN_OPTIONS, 'name', 'onContended']);
    const { name, onContended, ...options } = given;
    checkInstanceName(name);
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
  });
}

/** As `checkDecoratorOptions`, for `@RunOnce`. */
export function checkOnceOptions(method: string, given: RunOnceOptions): void {
  checkAt(`@RunOnce on ${method}`, () => {
    const { name, ...options } = given ?? {};
    checkInstanceName(name);
    checkLockOptions(readOnceOptions(options).lock);
  });
}

/** Throws `LockOptionsError` if the name of the module instance is no text. */
export function checkInstanceName(name: unknown): void {
  if (name !== undefined && typeof name !== 'string')
    throw LockOptionsError.notAccepted('name', name, 'the name of an instance');
}

/** Runs the check. A `LockOptionsError` then says where the option was given. */
export function checkAt(where: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw error instanceof LockOptionsError ? error.of(where) : error;
  }
}

/** Throws `LockKeyError` for a key that is neither a template nor a function. */
export function checkSingleKey(method: string, key: unknown): void {
  if (typeof key === 'string' || typeof key === 'function') return;
  throw new LockKeyError(
    [],
    `@RunOnce on ${method} needs one key: a template, or a function. A result belongs to a single key.`,
  );
}

/** Throws `LockKeyError` for a key that is neither a function nor 1 to 256 templates. */
export function checkKey(method: string, key: unknown): void {
  if (typeof key === 'string' || typeof key === 'function') return;
  if (!Array.isArray(key) || key.length === 0 || key.some((each) => typeof each !== 'string')) {
    throw new LockKeyError(
      [],
      `@ReplicaLocked on ${method} needs a key: a template, a non-empty array of templates, or a function.`,
    );
  }
  if (key.length > MOST_KEYS) {
    throw new LockKeyError(
      [],
      `@ReplicaLocked on ${method} has ${key.length} keys: ${MOST_KEYS} are the most. Lock one key that stands for all of them.`,
    );
  }
}
