import type { ExecutionContext } from '@nestjs/common';
import { LockKeyError } from '../lock/errors.js';
import type { LockKeys } from '../lock/keys.js';
import { kindOf } from './handler-context.js';
import type { MethodKeys } from './method-keys.js';

type KeyFunction = (...args: readonly unknown[]) => LockKeys;

/**
 * The keys of a method that a function returns. If the function fails or returns no key, the error
 * says what the function was given: the context and the arguments are easily mixed up.
 */
export class FunctionKeys implements MethodKeys {
  readonly label = undefined;

  constructor(
    private readonly key: KeyFunction,
    /** Class and method, for messages. */
    private readonly method: string,
  ) {}

  /** Undefined in the contexts in which the function is given the method's arguments. */
  beforeCall(context: ExecutionContext): LockKeys | undefined {
    const kind = kindOf(context);
    if (kind === 'field' || kind === 'other') return undefined;
    return this.call([context], `the ExecutionContext of a '${kind}' handler`);
  }

  ofCall(args: readonly unknown[]): LockKeys {
    return this.call(args, `the method's own arguments (${typesOf(args)})`);
  }

  private call(args: readonly unknown[], given: string): LockKeys {
    const { key, method } = this;
    let keys: unknown;
    try {
      keys = key(...args);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const failure = `The key function of ${method} failed: ${error.message}. The function was called with ${given}.`;
      throw Object.assign(new LockKeyError([], failure), { cause: error });
    }
    const isKey = (each: unknown): boolean => typeof each === 'string' && each !== '';
    if (isKey(keys) || (Array.isArray(keys) && keys.length > 0 && keys.every(isKey))) return keys as LockKeys;
    throw new LockKeyError(
      [],
      `The key function of ${method} returned ${shown(keys)}: a key must be a non-empty string, or a non-empty array of such strings. The function was called with ${given}.`,
    );
  }
}

/** The type of each value, and never the value itself: a value may be a secret. */
function typesOf(values: readonly unknown[]): string {
  return values.length === 0 ? 'none' : values.map(typeOf).join(', ');
}

function typeOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== 'object') return `a ${typeof value}`;
  const { name } = (value.constructor ?? Object) as { name?: unknown };
  return Array.isArray(value) ? 'an array' : name === 'Object' ? 'an object' : `a ${String(name)}`;
}

function shown(keys: unknown): string {
  if (keys === '') return 'an empty string';
  if (!Array.isArray(keys)) return typeOf(keys);
  return keys.length === 0
    ? 'an empty array'
    : `an array of ${keys.map((each) => (each === '' ? 'an empty string' : typeOf(each))).join(', ')}`;
}
