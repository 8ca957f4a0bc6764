import type { Observable } from 'rxjs';
import type { ListOutcome, ListRequest } from './lock-listing.js';
import type { ReplicaReport, StoreHealth } from './store-health.js';
import type { Validity } from './validity.js';

export type { ListedKey, ListedPage, ListOutcome, ListRequest } from './lock-listing.js';
export type { CommitCounts, MasterHealth, ReplicaReport, StoreHealth } from './store-health.js';

/**
 * The place that keeps the locks. Every store promises the following, and the contract suite checks
 * each store:
 *
 * - **At most one owner per key** at any time, over all processes that use the same data. With a
 *   `limit` above 1: an owner enters only if then the key has no more holders than the owner allows,
 *   and no more than any holder inside allows.
 * - **No owner starves**: while an owner waits, owners with a larger limit do not enter.
 * - **An owner names one attempt.** If an attempt was abandoned, or answered with anything but
 *   `granted`, that owner is never granted. The store takes back whatever such an attempt may have
 *   written.
 * - **Granted means confirmed**: by the replicas that the request asks for, before the validity of
 *   the lease ended.
 * - **A grant's token is greater than the token of every earlier grant** of the same key.
 * - **All or nothing**: of several keys either all are held or none, and no two requests deadlock.
 * - **Nothing outlives its lease**, whatever fails; a renewal never creates a key.
 * - **Failures are outcomes**, not exceptions: a rejected promise of a store is a bug.
 * - **Every wait ends**: each method says when it answers at the latest.
 */
export interface LockStore {
  /**
   * Makes one attempt to take all keys. Answers `busy` as soon as one key is found held; the caller
   * decides whether to wait and ask again. Answers at the latest `replicaTimeout` ms after
   * `waitUntil`.
   */
  acquire(request: AcquireRequest): Attempt;

  /**
   * Extends the lease to `leaseTime` ms from now, confirmed by a majority of the servers. Tries
   * until `lock.validity` ends, then answers `expired`.
   */
  renew(lock: HeldKeys, leaseTime: number, purpose?: RenewPurpose): Renewal;

  /**
   * Gives the keys back: the value becomes the bare token, so that the next token is greater.
   *
   * With `cooldown` > 0 the keys stay busy for that many ms, without a holder: no renewal brings
   * them back. Answers `unavailable` if no answer came within `replicaTimeout` +
   * `RELEASE_ALLOWANCE`. The store goes on trying in the background as long as the keys can live.
   * If a release waits behind thousands of others, this time starts when the release is sent, as
   * long as the others are answered.
   */
  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome>;

  /** From now on `changes` reports these keys too. The outcome covers changes before that. */
  watch(lock: OwnedKeys): Promise<WatchOutcome>;

  /** The holders of the key, or the result that the key keeps, read from the master. */
  inspect(key: string): Promise<InspectOutcome>;

  /**
   * One page of the keys that are held or keep a result, read from every master in turn. Skips free
   * keys and the values of other programs. A key that changes during the walk may be seen twice or
   * never, and every other key is seen. No page asks more of a server than about `PAGE_SIZE` keys.
   */
  list(request: ListRequest): Promise<ListOutcome>;

  /**
   * Takes the key from all its holders, or from one owner. A result that the key keeps is removed.
   */
  forceRelease(key: string, owner?: string): Promise<ForceReleaseOutcome>;

  /**
   * The keys whose changes the store hears of: a hint to ask again, never a fact to rely on.
   *
   * The store hears of every key that an `acquire` found busy, that is watched, or that was
   * renewed. Releases of this process may be among the changes. `every` and `where` mean that
   * notices may have been missed. With `isUnreachable` the master of these keys cannot be asked now,
   * and a waiter's last answer is out of date. Another change follows when the master can be asked
   * again.
   */
  readonly changes: Observable<KeyChange>;

  /** Whether `changes` report by themselves. If false, a waiter must ask from time to time. */
  readonly hearsChanges: boolean;

  /** Messages that an operator should read in the log. */
  readonly reports: Observable<StoreReport>;

  /** A snapshot for health checks; sends no command. */
  health(): StoreHealth;

  /** Starts to connect, without waiting for the connection. Idempotent. */
  open(): void;

  /**
   * Ends pending requests with `unavailable`, takes back what they may have written, and closes
   * every connection and timer. Idempotent.
   */
  close(): Promise<void>;
}

/**
 * The replicas that must confirm a grant beside the majority of the servers: see the option
 * `replicas`.
 */
export type ReplicaPolicy = 'all' | 'majority' | number;

/** The outcome of every request after `LockStore.close`. */
export const STORE_CLOSED: Unavailable = { kind: 'unavailable', reason: 'The lock store is closed.' };

/** ms for which a released key keeps its bare token, even if `clockSkew` is shorter. */
export const SHORTEST_TOMBSTONE_TIME = 1_000;

/**
 * ms for which a released key keeps its bare token, from which the next token is counted on. Once
 * the key has expired by the clock of a server, that clock has passed the token by as much, and the
 * next token is taken from the clock. So the next token is greater unless the clock then steps back
 * by more than this time, or a master takes over whose clock is behind by more. The option
 * `clockSkew` excludes both.
 */
export function tombstoneTimeOf(clockSkew: number): number {
  return Math.max(SHORTEST_TOMBSTONE_TIME, clockSkew);
}

/** ms beyond `replicaTimeout` within which `LockStore.release` answers. */
export const RELEASE_ALLOWANCE = 1_000;

/** Most bytes (UTF-8) of a kept result: see `ResultToKeep`. */
export const MOST_RESULT_BYTES = 65_536;

/** Most keys of one lock: a script with more keys blocks Redis for too long. */
export const MOST_KEYS = 256;

/** The keys of one owner, in this process or elsewhere. */
export interface OwnedKeys {
  /** Distinct, as the user named them; at most `MOST_KEYS`. In a request also sorted. */
  readonly keys: readonly string[];
  /** Unique to one attempt. Begins with `rl:`, contains no blank. */
  readonly owner: string;
  /**
   * The most owners that may hold each key while this owner does, itself included: 1 for a mutex, up
   * to 1,000,000, or Infinity.
   */
  readonly limit: number;
}

/** What one attempt asks for. */
export interface AcquireRequest extends OwnedKeys {
  /** ms */
  readonly leaseTime: number;
  readonly replicas: ReplicaPolicy;
  /** ms to wait for confirmations once the request is sent. */
  readonly replicaTimeout: number;
  /**
   * The caller waits until this monotonic instant. An attempt without an answer ends then, but not
   * before `replicaTimeout` ms have passed: a connection may be about to open, and a confirmation
   * takes time. If a quarantine lasts longer, the store answers at once.
   */
  readonly waitUntil: number;
  /**
   * The monotonic instant until which the caller waits for the key: until then a refused owner keeps
   * out owners with a larger limit, for at most `MARK_TIME` ms after each attempt.
   */
  readonly wantedUntil: number;
  /** The last answer was that the key is shared: a mutex is asked for in another way then. */
  readonly isShared?: boolean;
}

/**
 * ms within which the replicas must confirm a new lock, once the request is sent: at least half of
 * the lease is left then.
 */
export function confirmTimeOf({
  replicaTimeout,
  leaseTime,
}: Pick<AcquireRequest, 'replicaTimeout' | 'leaseTime'>): number {
  return Math.min(replicaTimeout, leaseTime / 2);
}

/** The monotonic instant at which an attempt ends if no server has written it by then. */
export function attemptEndOf(request: AcquireRequest, now: number): number {
  return Math.max(request.waitUntil, now + confirmTimeOf(request));
}

export interface Attempt {
  readonly outcome: Promise<AcquireOutcome>;
  /**
   * The caller does not wait any more. What was or will be written is taken back, and the outcome
   * no longer matters.
   */
  abandon(): void;
}

export type AcquireOutcome =
  | {
      readonly kind: 'granted';
      readonly token: number;
      readonly confirmedBy: number;
      readonly validity: Validity;
    }
  | Busy
  | Unconfirmed
  | Unavailable
  | Foreign
  | Misconfigured;

export interface Renewal {
  readonly outcome: Promise<RenewOutcome>;
  /**
   * What the renewal lacks now; undefined once it is answered. The holder ends the lock at the same
   * instant at which the store gives the renewal up, and usually before the outcome arrives.
   */
  whyNot(): Unconfirmed | Unavailable | undefined;
}

export type RenewOutcome =
  | { readonly kind: 'renewed'; readonly validity: Validity; readonly confirmedBy: number }
  /** The owner does not hold this key any more. */
  | { readonly kind: 'gone'; readonly key: string }
  /** Not confirmed before the validity held so far ended. `why` says what was missing. */
  | { readonly kind: 'expired'; readonly why: Unconfirmed | Unavailable };

/**
 * `cooldown`: the lock is given back, and the keys only stay busy for the given time. The replicas
 * confirm that like a renewal, but the lock has no holder from then on.
 */
export type RenewPurpose = 'hold' | 'cooldown' | ResultToKeep;

/**
 * The lock of a single key is given back, and the key keeps this result for the given time, without
 * a holder. If that is not confirmed in time, the store takes the result back: nothing is kept.
 */
export interface ResultToKeep {
  /** At most `MOST_RESULT_BYTES`. */
  readonly result: string;
  /** The replicas that must confirm beside the majority, whatever the age of their links. */
  readonly replicas: ReplicaPolicy;
}

export type ReleaseOutcome =
  /**
   * `ours` is false if the owner did not hold one of the keys any more when the release ran. A key
   * that holds the bare token of this lock was released by this lock. If an earlier answer was
   * lost, the keys may have been freed then and taken since: that is no loss, and `ours` is true.
   */
  { readonly kind: 'released'; readonly ours: boolean } | Unavailable;

export type WatchOutcome =
  | { readonly kind: 'held' }
  /** The owner does not hold this key, or not any more. */
  | { readonly kind: 'gone'; readonly key: string }
  /** No server could be asked, or none answered: the keys are not watched. */
  | { readonly kind: 'unknown' };

export type InspectOutcome =
  | {
      readonly kind: 'held';
      /** The holder whose lease ends first. */
      readonly holder: Holder;
      /** All holders, the first to end first. */
      readonly holders: readonly Holder[];
    }
  | KeptResult
  | { readonly kind: 'free' }
  | Foreign
  | Unavailable;

/** No lock holds the key, which keeps a result. `holder`: the lock under which the work ran. */
export interface KeptResult {
  readonly kind: 'kept';
  readonly holder: Holder;
  readonly result: string;
}

export type ForceReleaseOutcome =
  /** `wasHeld`: the key had a holder or kept a result. */
  { readonly kind: 'done'; readonly wasHeld: boolean } | Foreign | Unavailable;

/** A held lock, as needed to renew and release it. */
export interface HeldKeys extends OwnedKeys {
  readonly token: number;
  readonly leaseTime: number;
  readonly validity: Validity;
}

export interface Holder {
  readonly owner: string;
  readonly token: number;
  /**
   * ms until the key expires. Infinity if the key never expires: another program changed the key,
   * because a lock of this library always expires.
   */
  readonly remainingTime: number;
  /** The lock was given back before `minHoldTime` had passed, and the key only stays busy. */
  readonly inCooldown: boolean;
  /** The lock was given back, and the key keeps a result: see `ResultToKeep`. */
  readonly keepsResult?: true;
  /** See `OwnedKeys.limit`. */
  readonly limit: number;
}

/** Other owners hold one of the keys, or wait for it and keep this owner out. */
export interface Busy {
  readonly kind: 'busy';
  readonly key: string;
  /**
   * The holder. Of several holders, any one, with the ms until the first of them may end. Without a
   * holder the owner is ''.
   */
  readonly holder: Holder;
  /** Undefined if the holder has the limit 1. */
  readonly shared?: SharedKey | undefined;
}

/** A busy key that several owners may hold. */
export interface SharedKey {
  /** The number of holders. 0: the key is kept for an owner with a smaller limit, which waits. */
  readonly holders: number;
  /**
   * Owners with a larger limit are kept out for the owner that asked. The mark ends by itself unless
   * the owner asks again: see `MARK_TIME`.
   */
  readonly isMarked: boolean;
}

/** The most ms for which a waiting owner keeps out owners with a larger limit, unless it asks again. */
export const MARK_TIME = 1_000;

/** Written, but too few replicas confirmed in time; taken back. */
export interface Unconfirmed {
  readonly kind: 'unconfirmed';
  /**
   * True if the lock was refused before the write, because the master has no replica that could
   * confirm. Asking again cannot help until a replica is attached.
   */
  readonly permanent?: boolean;
  readonly confirmed: number;
  readonly required: number;
  readonly replicas: readonly ReplicaReport[];
  /** Which master was asked, if there are several. */
  readonly master?: string;
}

/** Nothing could be decided: unreachable, refused, or in quarantine. Nothing is held. */
export interface Unavailable {
  readonly kind: 'unavailable';
  /** A sentence for the log: what happened, on which server, with which answer, and what to do. */
  readonly reason: string;
  readonly cause?: unknown;
  /** ms after which asking again makes sense, if known. */
  readonly retryAfter?: number;
  /**
   * True if asking again cannot help until an operator changes the configuration: credentials,
   * permissions, a missing command.
   */
  readonly permanent?: boolean;
}

/** The key holds another program's value, which was left alone. */
export interface Foreign {
  readonly kind: 'foreign';
  readonly key: string;
  /** What the key holds, in words. */
  readonly found: string;
}

/** The server is configured so that locks cannot be kept. */
export interface Misconfigured {
  readonly kind: 'misconfigured';
  readonly option: string;
  readonly value: unknown;
  readonly reason: string;
}

export type KeyChange =
  | { readonly key: string }
  | { readonly every: true; readonly isUnreachable?: true }
  /** Every key for which the function returns true. */
  | { readonly where: (key: string) => boolean; readonly isUnreachable?: true };

/** Whether the change may be a change of this key. */
export function concerns(change: KeyChange, key: string): boolean {
  if ('key' in change) return change.key === key;
  return 'every' in change || change.where(key);
}

export interface StoreReport {
  readonly level: 'log' | 'warn' | 'error';
  /** A stable name of the condition, for filters and alerts. */
  readonly code: string;
  readonly message: string;
}
