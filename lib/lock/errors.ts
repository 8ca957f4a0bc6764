import { durationText } from '../common/duration-text.js';
import { nearestTo } from '../common/nearest.js';
import type {
  ForceReleaseOutcome,
  Foreign,
  InspectOutcome,
  Misconfigured,
  ReplicaReport,
  Unavailable,
  Unconfirmed,
} from '../store/lock-store.js';
import { endOf, fenceOf, holdersText, lockOf, whyNotConfirmed } from './error-texts.js';

export type LockErrorCode =
  | 'LOCK_CONTENDED'
  | 'LOCK_NOT_REPLICATED'
  | 'LOCK_UNAVAILABLE'
  | 'LOCK_LOST'
  | 'LOCK_KEY'
  | 'LOCK_OPTIONS'
  | 'LOCK_SERVICE_CLOSED';

/** Marks the errors of every copy of this package in the process. */
const BRAND = Symbol.for('nestjs-replica-lock.error');

/**
 * The base class of all errors of this library. Has the `keys` concerned and a stable `code`.
 *
 * `instanceof` recognises these classes by a brand and the `code`, not by identity: two copies of
 * the package in one process, or a bundle that renames classes, do not matter.
 */
export abstract class ReplicaLockError extends Error {
  abstract readonly code: LockErrorCode;
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (!isBranded(value)) return false;
    if (this === ReplicaLockError) return true;
    // A class that extends one of ours is recognised as usual.
    return Object.hasOwn(this.prototype, 'code')
      ? value.code === this.prototype.code
      : Function.prototype[Symbol.hasInstance].call(this, value);
  }

  /** What GraphQL servers add to the error that they answer with. */
  get extensions(): { code: LockErrorCode } {
    return { code: this.code };
  }

  constructor(
    /** The keys asked for, as the caller named them. */
    readonly keys: readonly string[],
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  static {
    Object.defineProperty(this.prototype, BRAND, { value: true });
  }
}

function isBranded(value: unknown): value is { readonly code: unknown } {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
}

/** Gives a class a name and a code as text, since bundles rename classes. */
function identify(prototype: ReplicaLockError, name: string, code: LockErrorCode): void {
  Object.defineProperty(prototype, 'name', { value: name, configurable: true, writable: true });
  Object.defineProperty(prototype, 'code', { value: code, configurable: true, writable: true });
}

/** What `util.inspect` calls: `inspect.custom` of `node:util`. */
const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * A lock that was refused is an expected answer, and the stack of such an error names only files of
 * this library. So the console, and a logger that inspects the error, write one line: a job that is
 * refused at each tick would otherwise write 12 to 20 lines at each tick.
 */
function inspectInOneLine(prototype: ReplicaLockError): void {
  const value = function (this: ReplicaLockError): string {
    return `${this.name}: ${this.message}`.replaceAll(/\s*[\r\n]\s*/g, ' ');
  };
  Object.defineProperty(prototype, INSPECT, { value });
}

/** Another caller held the key until `waitTime` ended. */
export class LockContendedError extends ReplicaLockError {
  static {
    identify(this.prototype, 'LockContendedError', 'LOCK_CONTENDED');
    inspectInOneLine(this.prototype);
  }

  readonly code = 'LOCK_CONTENDED';

  constructor(
    keys: readonly string[],
    /** Names the grant, host and process that hold the lock. */
    readonly owner: string | undefined,
    /** ms until the holder's lease ends if the holder does not renew. */
    readonly remainingTime: number,
    waitTime: number,
    /** The caller runs under that lock itself. */
    isOwn = false,
    /** The key has no holder: it keeps a result of `once` for `remainingTime`. */
    readonly keepsResult = false,
    /**
     * How many callers hold the key: 1 unless their `limit` is larger. 0 if the key is kept for a
     * caller with a smaller `limit`, which waits.
     */
    readonly holders: number = 1,
  ) {
    super(
      keys,
      keepsResult
        ? `${lockOf(keys)} was not taken: its key keeps the result of work that ran once (LockService.once), for ${durationText(remainingTime)} more. ` +
            'Use another key for the lock, or remove the result (LockService.forceRelease).'
        : `${lockOf(keys)} is ${holdersText(owner, holders)}` +
            (isOwn ? ' (by this very context: acquire never joins, use withLock)' : '') +
            (waitTime > 0 ? ` and did not become free within ${durationText(waitTime)}.` : '.') +
            (remainingTime === Infinity
              ? ' Its key has no time to live, so the lock never ends by itself: another program removed the time to live. Release the lock by force (LockService.forceRelease).'
              : ` ${endOf(holders)} in ${durationText(remainingTime)} unless it is renewed: try again then, or wait longer (waitTime).`),
    );
  }
}

/**
 * The write reached the master, but too few replicas confirmed in time. The write was taken back.
 */
export class LockNotReplicatedError extends ReplicaLockError {
  static {
    identify(this.prototype, 'LockNotReplicatedError', 'LOCK_NOT_REPLICATED');
    inspectInOneLine(this.prototype);
  }

  readonly code = 'LOCK_NOT_REPLICATED';
  /** Replicas that confirmed. */
  readonly confirmed: number;
  /** Replicas that had to confirm. */
  readonly required: number;
  /** Every known replica and what the replica has acknowledged. */
  readonly replicas: readonly ReplicaReport[];

  constructor(
    keys: readonly string[],
    outcome: Unconfirmed,
    /** ms that the replicas had for their confirmation. */
    within: number,
  ) {
    const what = outcome.permanent === true ? 'was refused' : 'was not confirmed and was taken back';
    super(keys, `${lockOf(keys)} ${what}: ${whyNotConfirmed(outcome, within)}`);
    this.confirmed = outcome.confirmed;
    this.required = outcome.required;
    this.replicas = outcome.replicas;
  }

  /** @deprecated The old name of `replicas`. */
  get members(): readonly ReplicaReport[] {
    return this.replicas;
  }
}

/** What the store could not do with a lock, for the message. */
type FailedAct = 'taken' | 'released' | 'kept busy' | 'inspected' | 'listed';

/** Redis cannot be reached or refuses, or the replicas are in quarantine. Nothing is held. */
export class LockUnavailableError extends ReplicaLockError {
  static {
    identify(this.prototype, 'LockUnavailableError', 'LOCK_UNAVAILABLE');
    inspectInOneLine(this.prototype);
  }

  readonly code = 'LOCK_UNAVAILABLE';
  /** ms after which another attempt makes sense, if known. */
  readonly retryAfter: number | undefined;

  constructor(keys: readonly string[], outcome: Pick<Unavailable, 'reason' | 'cause' | 'retryAfter'>);
  /** @internal */
  constructor(keys: readonly string[], outcome: Unavailable, failed: FailedAct);
  constructor(keys: readonly string[], outcome: Unavailable, failed: FailedAct = 'taken') {
    super(keys, `${lockOf(keys)} could not be ${failed}: ${outcome.reason}`, causedBy(outcome.cause));
    this.retryAfter = outcome.retryAfter === undefined ? undefined : Math.ceil(outcome.retryAfter);
  }
}

/**
 * The lock was lost while the work ran: another caller may hold the key. Also the reason of
 * `lock.signal`.
 */
export class LockLostError extends ReplicaLockError {
  static {
    identify(this.prototype, 'LockLostError', 'LOCK_LOST');
  }

  readonly code = 'LOCK_LOST';

  constructor(
    keys: readonly string[],
    readonly lostAt: Date,
    /** What happened, as the end of a sentence. */
    private readonly why: string,
    cause?: unknown,
    /** The lock's `limit`. */
    private readonly limit: number = 1,
  ) {
    super(
      keys,
      `${lockOf(keys)} was lost at ${lostAt.toISOString()}: ${why}. Stop what it protects; ${fenceOf(limit)}`,
      causedBy(cause),
    );
  }

  /**
   * For a question about a key that the context may never have held.
   *
   * @internal
   */
  static notHeld(keys: readonly string[], at: Date): LockLostError {
    const error = new LockLostError(keys, at, 'this context does not hold it, or no longer');
    error.message = `${lockOf(keys)} is not held by this context: it was taken elsewhere or not at all, or it has ended. Take it around this work (withLock, @ReplicaLocked).`;
    return error;
  }

  /**
   * The same loss, with the error of the work that failed because of the loss.
   *
   * @internal
   */
  because(cause: unknown): LockLostError {
    return new LockLostError(this.keys, this.lostAt, this.why, cause, this.limit);
  }
}

/** A key or a key's template cannot be used, or another program uses the key. */
export class LockKeyError extends ReplicaLockError {
  static {
    identify(this.prototype, 'LockKeyError', 'LOCK_KEY');
  }

  readonly code = 'LOCK_KEY';

  constructor(
    keys: readonly string[],
    message: string,
    /**
     * What is wrong with the caller's request, in words that the caller may read; undefined if the
     * program is to blame.
     */
    readonly requestProblem?: string,
  ) {
    super(keys, message);
  }

  /**
   * True if the caller's request supplied the bad part (HTTP 400), false if the program did (500).
   */
  get fromRequest(): boolean {
    return this.requestProblem !== undefined;
  }

  /**
   * The context of the caller holds a key with a larger limit than the caller asks for.
   *
   * @internal
   */
  static stricter(keys: readonly string[], limit: number, held: number): LockKeyError {
    return new LockKeyError(
      keys,
      `${lockOf(keys)} cannot be taken with limit ${limit} here: this context holds a key with limit ${held}, ` +
        'and would wait for itself. Take the lock with the smaller limit at the outermost place, or leave the other lock first.',
    );
  }

  /**
   * The key holds a value that no lock wrote.
   *
   * @internal
   */
  static foreign(keys: readonly string[], outcome: Foreign): LockKeyError {
    return new LockKeyError(
      keys,
      `Key '${outcome.key}' holds ${outcome.found}, which no lock of this library wrote; it was left alone. Choose another key or keyPrefix, or remove that value.`,
    );
  }
}

/** An option cannot be used, or the server is set up so that it cannot keep locks. */
export class LockOptionsError extends ReplicaLockError {
  static {
    identify(this.prototype, 'LockOptionsError', 'LOCK_OPTIONS');
  }

  readonly code = 'LOCK_OPTIONS';

  constructor(
    readonly option: string,
    readonly value: unknown,
    message: string,
    keys: readonly string[] = [],
  ) {
    super(keys, message);
  }

  /**
   * `Option 'x' is 5: it must be ...`.
   *
   * @internal
   */
  static notAccepted(option: string, value: unknown, accepted: string): LockOptionsError {
    return new LockOptionsError(
      option,
      value,
      `Option '${option}' is ${shown(value)}: it must be ${accepted}.`,
    );
  }

  /**
   * `There is no option 'x': did you mean 'y'?`
   *
   * @internal
   */
  static unknown(option: string, value: unknown, known: readonly string[]): LockOptionsError {
    const meant = nearestTo(option, known);
    const advice = meant === undefined ? `the options are ${known.join(', ')}.` : `did you mean '${meant}'?`;
    return new LockOptionsError(option, value, `There is no option '${option}': ${advice}`);
  }

  /**
   * The same error, which says where the option was given.
   *
   * @internal
   */
  of(where: string, keys = this.keys): LockOptionsError {
    return new LockOptionsError(this.option, this.value, `${where}: ${this.message}`, keys);
  }

  /**
   * The server is set up so that locks cannot be kept.
   *
   * @internal
   */
  static ofServer(keys: readonly string[], outcome: Misconfigured): LockOptionsError {
    return new LockOptionsError(outcome.option, outcome.value, outcome.reason, keys);
  }
}

/** The application is shutting down: nothing new is locked. */
export class LockServiceClosedError extends ReplicaLockError {
  static {
    identify(this.prototype, 'LockServiceClosedError', 'LOCK_SERVICE_CLOSED');
    inspectInOneLine(this.prototype);
  }

  readonly code = 'LOCK_SERVICE_CLOSED';

  constructor(keys: readonly string[]) {
    super(
      keys,
      `${lockOf(keys)} was refused: this application is shutting down. Ask another instance, or again after the restart.`,
    );
  }
}

function causedBy(cause: unknown): ErrorOptions | undefined {
  return cause === undefined ? undefined : { cause };
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}

/** Throws if the store could not do what an operator asked for. `failed`: for the message. */
export function answered<T extends InspectOutcome | ForceReleaseOutcome>(
  keys: readonly string[],
  outcome: T,
  failed: 'inspected' | 'released',
): Exclude<T, Unavailable | Foreign> {
  if (outcome.kind === 'unavailable') throw new LockUnavailableError(keys, outcome, failed);
  if (outcome.kind === 'foreign') throw LockKeyError.foreign(keys, outcome);
  return outcome as Exclude<T, Unavailable | Foreign>;
}
