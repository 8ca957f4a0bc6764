import { LockKeyError } from './errors.js';

/** Longest key, in UTF-16 code units. */
const LONGEST_KEY = 1_024;

/** Checks what the caller gave and makes it a list of distinct keys, in the caller's order. */
export function keysOf(key: string | readonly string[]): readonly string[] {
  if (typeof key === 'string') {
    checkKey(key);
    return [key];
  }
  if (!Array.isArray(key))
    throw new LockKeyError([], `A lock's key must be a string or an array of strings, not ${nameOf(key)}.`);
  if (key.length === 0)
    throw new LockKeyError([], "A lock's array of keys is empty: there is nothing to lock.");
  for (const each of key) checkKey(each);
  return key.length === 1 ? [...key] : [...new Set(key as readonly string[])];
}

function checkKey(key: unknown): void {
  if (typeof key !== 'string')
    throw new LockKeyError([], `A lock's key must be a string, not ${nameOf(key)}.`);
  if (key === '') throw new LockKeyError([], "A lock's key is empty: give it a name.");
  if (key.length > LONGEST_KEY) {
    throw new LockKeyError(
      [key.slice(0, 100)],
      `Lock '${key.slice(0, 100)}…' has a key of ${key.length} characters: ${LONGEST_KEY} are the most.`,
    );
  }
}

function nameOf(value: unknown): string {
  return value === null
    ? 'null'
    : Array.isArray(value)
      ? 'an array'
      : typeof value === 'object'
        ? 'an object'
        : String(value);
}
