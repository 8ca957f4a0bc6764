import { MOST_KEYS } from '../store/lock-store.js';
import { LockKeyError } from './errors.js';

/** Longest key, in UTF-16 code units. */
const LONGEST_KEY = 1_024;

/** A key, or at most 256 keys that a lock takes together: all keys or none. */
export type LockKeys = string | readonly string[];

/**
 * Checks the caller's keys and lists them without repetitions, in the caller's order.
 *
 * @throws {LockKeyError} If a key is not accepted, or if there are no keys or more than 256.
 */
export function keysOf(key: LockKeys): readonly string[] {
  if (typeof key === 'string') return [keyOf(key)];
  if (!Array.isArray(key))
    throw new LockKeyError([], `A lock's key must be a string or an array of strings, not ${nameOf(key)}.`);
  if (key.length === 0)
    throw new LockKeyError([], "A lock's array of keys is empty: there is nothing to lock.");
  const keys = new Set<string>();
  for (const each of key) {
    keys.add(keyOf(each));
    if (keys.size > MOST_KEYS) {
      throw new LockKeyError(
        [],
        `A lock was asked for more than ${MOST_KEYS} keys, from '${shortened(key[0])}' on: ${MOST_KEYS} are the most. ` +
          'Lock one key that stands for all of them, or take several locks.',
      );
    }
  }
  return [...keys];
}

/**
 * Checks the owner that a caller names. An empty text, perhaps from a shell, must not stand for all
 * owners.
 */
export function ownerOf(owner: unknown): string | undefined {
  if (owner === undefined || (typeof owner === 'string' && owner !== '')) return owner;
  throw new TypeError(
    `The owner must be a text as LockInfo.owner, not ${owner === '' ? 'an empty one' : nameOf(owner)}: ` +
      'leave it out to free the key from all its holders.',
  );
}

/**
 * Checks one key: a well-formed text of 1 to 1,024 UTF-16 code units.
 *
 * @throws {LockKeyError} If the key is not accepted.
 */
export function keyOf(key: unknown): string {
  if (typeof key !== 'string')
    throw new LockKeyError([], `A lock's key must be a string, not ${nameOf(key)}.`);
  if (key === '') throw new LockKeyError([], "A lock's key is empty: give it a name.");
  if (key.length > LONGEST_KEY) {
    throw new LockKeyError(
      [shortened(key)],
      `Lock '${shortened(key)}' has a key of ${key.length} characters: ${LONGEST_KEY} are the most.`,
    );
  }
  if (!key.isWellFormed()) {
    const readable = key.toWellFormed();
    // Redis receives UTF-8. UTF-8 has no half surrogate pairs, so different keys of this kind would
    // be one key in Redis.
    throw new LockKeyError(
      [readable],
      `Lock '${readable}' has a key that is no well-formed Unicode: it has half of a surrogate pair (was a text cut in the middle of ` +
        'a character?). Encode it first, with encodeURIComponent or as base64.',
    );
  }
  return key;
}

function shortened(key: string): string {
  return key.length > 100 ? `${key.slice(0, 100).toWellFormed()}…` : key;
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
