import ms from 'ms';
import type { ReplicaPolicy } from '../store/lock-store.js';
import { LockOptionsError } from './errors.js';

/** A kind of option: what is accepted, in words for an error, and how a value is read. */
export interface OptionKind<T> {
  readonly accepted: string;
  /** The value in the form that the library uses. Undefined: the value is not accepted. */
  read(value: unknown): T | undefined;
}

/** An option of the module. `default`: the value of an option that is left out. */
export interface Option<T> extends OptionKind<NonNullable<T>> {
  readonly default: T;
}

export const SHORTEST_LEASE = 100;
/** About a month: the longest time of a timer, and far beyond any use of a lease. */
const LONGEST_DURATION = 2_147_483_647;

interface DurationLimits {
  /** ms */
  readonly min: number;
  /** ms */
  readonly max?: number;
  /** Infinity is accepted as well. */
  readonly infinite?: boolean;
}

/** Milliseconds, or a string for the `ms` package. Read as whole ms, which messages also show. */
export function duration({
  min,
  max = LONGEST_DURATION,
  infinite = false,
}: DurationLimits): OptionKind<number> {
  const range = `milliseconds from ${min} to ${max}${infinite ? ', or Infinity' : ''}`;
  return {
    accepted: `${range}, or a string such as '30s'`,
    read(value) {
      const time = typeof value === 'string' ? readDuration(value) : value;
      if (typeof time !== 'number') return undefined;
      const isInRange = time >= min && time <= max;
      // A fraction of a millisecond is not 0, which means "none" in some options.
      return isInRange || (infinite && time === Infinity) ? Math.round(time) || Math.ceil(time) : undefined;
    },
  };
}

function readDuration(text: string): number | undefined {
  return text.trim() === '' ? undefined : ms(text as ms.StringValue);
}

export const FLAG: OptionKind<boolean> = {
  accepted: 'true or false',
  read: (value) => (typeof value === 'boolean' ? value : undefined),
};

export const POLICY: OptionKind<ReplicaPolicy> = {
  accepted: "'all', 'majority' or a number of replicas",
  read(value) {
    if (value === 'all' || value === 'majority') return value;
    const isCount = typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 1_000;
    return isCount ? value : undefined;
  },
};

/** Most callers that a lock may allow on its key, apart from Infinity. */
const LARGEST_LIMIT = 1_000_000;

export const LIMIT: OptionKind<number> = {
  accepted: 'a whole number from 1 to 1000000, or Infinity',
  read(value) {
    const isCount = Number.isInteger(value) && (value as number) >= 1 && (value as number) <= LARGEST_LIMIT;
    return isCount || value === Infinity ? (value as number) : undefined;
  },
};

export const SIGNAL: OptionKind<AbortSignal> = {
  accepted: 'an AbortSignal',
  read: (value) =>
    typeof (value as AbortSignal | null)?.addEventListener === 'function'
      ? (value as AbortSignal)
      : undefined,
};

export const LABEL: OptionKind<string> = {
  accepted: 'a text that is not empty',
  read: (value) => (typeof value === 'string' && value !== '' ? value : undefined),
};

/** Throws `LockOptionsError`, which names the option, the value and what is accepted. */
export function readOption<T>(name: string, kind: OptionKind<T>, value: unknown): T {
  const read = kind.read(value);
  if (read !== undefined) return read;
  throw LockOptionsError.notAccepted(name, value, kind.accepted);
}

/** Throws `LockOptionsError` for options that are no object, such as a number. */
export function demandOptions(options: unknown): void {
  if (typeof options === 'object' && options !== null) return;
  throw LockOptionsError.notAccepted('options', options, "an object, such as { leaseTime: '10s' }");
}

/** Throws `LockOptionsError` for an option that is none of these. */
export function refuseUnknown(options: object, known: readonly string[]): void {
  demandOptions(options);
  for (const [name, value] of Object.entries(options))
    if (!known.includes(name)) throw LockOptionsError.unknown(name, value, known);
}
