import { LockOptionsError } from './errors.js';
import { duration, readOption, refuseUnknown } from './option-kinds.js';
import { KNOWN_OPTIONS, type AcquireOptions, type Duration } from './options.js';

/** ms. After a shorter time the next fencing token might not be greater. */
const SHORTEST_KEEP = 1_000;
/** ms, about a year. */
const LONGEST_KEEP = 366 * 24 * 60 * 60 * 1_000;

const KEEP_FOR = duration({ min: SHORTEST_KEEP, max: LONGEST_KEEP });
const KNOWN_ONCE_OPTIONS: readonly string[] = [
  'keepFor',
  ...KNOWN_OPTIONS.filter((name) => !['minHoldTime', 'limit', 'reentrant'].includes(name)),
];

/**
 * What `once` may ask for: the options of `acquire` for the lock under which the work runs, and
 * `keepFor`. `minHoldTime` is refused, because the result keeps the key busy.
 */
export interface OnceOptions extends Omit<AcquireOptions, 'minHoldTime' | 'limit'> {
  /**
   * How long the result is kept, counted from the end of the work. From 1 s to 366 days, whatever
   * `leaseTime` and `quarantine` are.
   */
  keepFor: Duration;
}

/** The options checked, with `keepFor` in ms apart. */
interface CheckedOnceOptions {
  readonly keepFor: number;
  readonly lock: AcquireOptions;
}

/** The options of `once` for this key. Throws `LockOptionsError`, which names the key. */
export function onceOptionsOf(key: string, options: OnceOptions): CheckedOnceOptions {
  try {
    return readOnceOptions(options);
  } catch (error) {
    throw error instanceof LockOptionsError ? error.of(`once('${key}')`, [key]) : error;
  }
}

/** Throws `LockOptionsError`. */
export function readOnceOptions(options: OnceOptions): CheckedOnceOptions {
  const { keepFor, ...lock } = options ?? {};
  const { minHoldTime } = lock as AcquireOptions;
  if (minHoldTime !== undefined) {
    const accepted = 'left out with keepFor: the result keeps the key busy, and a failure must not';
    throw LockOptionsError.notAccepted('minHoldTime', minHoldTime, accepted);
  }
  refuseUnknown(lock, KNOWN_ONCE_OPTIONS);
  return { keepFor: readOption('keepFor', KEEP_FOR, keepFor), lock };
}
