import type { Observable } from 'rxjs';
import type { Validity } from './validity.js';

/**
 * Where locks live. What every store promises, and the contract suite checks on each of them:
 *
 * - **At most one owner per key** at any time, over all processes that use the same data.
 * - **An owner names one attempt.** Once an attempt was abandoned, or answered with anything but `granted`, its owner is
 *   never granted: what it may have left behind is taken back by the store, without being asked.
 * - **Granted means confirmed**: by the replicas that the request asks for, before the lease's validity ended.
 * - **A grant's token is greater than every earlier grant's** of the same key.
 * - **All or nothing**: of several keys all are held or none, and nobody deadlocks.
 * - **Nothing outlives its lease**, whatever fails; a renewal never creates a key.
 * - **Failures are outcomes**, not exceptions: a rejected promise of a store is a bug.
 * - **No wait without an end**: each method says when it answers at the latest.
 */
export interface LockStore {
  /**
   * Makes one attempt to take all keys. Answers `busy` as soon as one of them is found held; whether to wait and ask again
   * is the caller's business. Answers at the latest `replicaTimeout` ms after `waitUntil`.
   */
  acquire(request: AcquireRequest): Attempt;

  /**
   * Extends the lease to `leaseTime` from now, confirmed by a majority of the servers. Goes on trying until
   * `lock.validity` ends, then answers `expired`.
   */
  renew(lock: HeldKeys, leaseTime: number, purpose?: RenewPurpose): Promise<RenewOutcome>;

  /**
   * Gives the keys back: the value becomes the bare token, so that the next token is greater. With `cooldown` > 0 the keys
   * stay busy for that many ms more, held by nobody: no renewal brings them back. Answers `unavailable` if no answer came within
   * `replicaTimeout` + 1 s; the store goes on trying in the background for as long as the keys can live. A release that waits behind
   * thousands of others is given that time from its sending, as long as those are answered.
   */
  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome>;

  /** From now on `changes` tells of the keys, too; what changed before is answered. */
  watch(lock: OwnedKeys): Promise<WatchOutcome>;

  /** Who holds the key, read from the master. */
  inspect(key: string): Promise<InspectOutcome>;

  /** Takes the key from whoever holds it. */
  forceRelease(key: string): Promise<ForceReleaseOutcome>;

  /**
   * Keys that somebody changed, as far as the store hears of it: a hint to look again, never a fact to rely on. Hears of every key that an
   * `acquire` found busy, that is watched, or that was renewed. Our own releases may be among them. `every` and `where` mean that notices may have been missed;
   * with `isLost` the master of these keys cannot be asked now, and another change follows once it can: until then a waiter's last answer is out of date.
   */
  readonly changes: Observable<KeyChange>;

  /** Whether `changes` come by themselves; where false, who waits must look now and then. */
  readonly hearsChanges: boolean;

  /** What an operator should read in the log. */
  readonly reports: Observable<StoreReport>;

  /** A snapshot for health checks; asks nobody. */
  health(): StoreHealth;

  /** Begins to connect; does not wait for it. Idempotent. */
  open(): void;

  /** Ends what is pending with `unavailable`, gives back what it may have written, closes every connection and timer. Idempotent. */
  close(): Promise<void>;
}

/** Who must confirm a grant beside the majority of the servers, see `replicas` of the options. */
export type ReplicaPolicy = 'all' | 'majority' | number;

/** Keys of one lock: a script that takes more of them blocks Redis for too long. */
export const MOST_KEYS = 256;

export interface AcquireRequest {
  /** Distinct and sorted, as the user named them; at most `MOST_KEYS`. */
  readonly keys: readonly string[];
  /** Unique to this attempt; begins with `rl:`, no blank in it. */
  readonly owner: string;
  /** ms */
  readonly leaseTime: number;
  readonly replicas: ReplicaPolicy;
  /** How long to wait for confirmations once the request is sent, ms. */
  readonly replicaTimeout: number;
  /**
   * The monotonic instant at which an attempt ends that could not be sent or whose answer was lost, though not sooner than
   * `replicaTimeout` after asking: a connection may just be in the making, and a confirmation takes its time. Where the store
   * knows that nothing can be granted before this instant (quarantine), it answers at once.
   */
  readonly waitUntil: number;
}

export interface Attempt {
  readonly outcome: Promise<AcquireOutcome>;
  /** The caller is gone. What was or will be written is taken back; the outcome no longer matters. */
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

export type RenewOutcome =
  | { readonly kind: 'renewed'; readonly validity: Validity; readonly confirmedBy: number }
  /** The key is not ours any more. */
  | { readonly kind: 'gone'; readonly key: string }
  /** Not confirmed before the validity held so far ended. `why` tells what it waited for. */
  | { readonly kind: 'expired'; readonly why: Unconfirmed | Unavailable };

/** `keep`: the lock is given back, and its keys only stay busy for the time given: confirmed, but held by nobody from then on. */
export type RenewPurpose = 'hold' | 'cooldown';

export type ReleaseOutcome =
  /**
   * `ours` is false if a key was not ours any more when the release ran. A key that holds the bare token of this lock was released by it. If an
   * earlier answer was lost, the keys may have been freed then and taken since: that is no loss, and `ours` is true.
   */
  { readonly kind: 'released'; readonly ours: boolean } | Unavailable;

export type WatchOutcome =
  | { readonly kind: 'held' }
  /** The owner does not hold this key (any more). */
  | { readonly kind: 'gone'; readonly key: string }
  /** Nobody could be asked, or nothing was answered: the keys are not watched. */
  | { readonly kind: 'unknown' };

export type InspectOutcome =
  { readonly kind: 'held'; readonly holder: Holder } | { readonly kind: 'free' } | Foreign | Unavailable;

export type ForceReleaseOutcome =
  { readonly kind: 'done'; readonly wasHeld: boolean } | Foreign | Unavailable;

/** What somebody holds, here or elsewhere. */
export interface OwnedKeys {
  readonly keys: readonly string[];
  readonly owner: string;
}

/** The lock as its host needs it to renew and to release. */
export interface HeldKeys extends OwnedKeys {
  readonly token: number;
  readonly leaseTime: number;
  readonly validity: Validity;
}

export interface Holder {
  readonly owner: string;
  readonly token: number;
  /** ms until the key expires by itself; Infinity where it never does (somebody made it so: no lock of this library). */
  readonly remainingTime: number;
  /** It was given back before its `minHoldTime`: nobody believes in it any more. */
  readonly inCooldown: boolean;
}

/** Somebody else holds one of the keys. */
export interface Busy {
  readonly kind: 'busy';
  readonly key: string;
  readonly holder: Holder;
}

/** Written, but too few confirmed in time; taken back. */
export interface Unconfirmed {
  readonly kind: 'unconfirmed';
  readonly confirmed: number;
  readonly required: number;
  readonly replicas: readonly ReplicaReport[];
  /** Which master it was, where there are several. */
  readonly master?: string;
}

/** Nothing could be decided: unreachable, refused, or in quarantine. Nothing is held. */
export interface Unavailable {
  readonly kind: 'unavailable';
  /** What happened and what to do, a sentence for the log: names the server and its answer. */
  readonly reason: string;
  readonly cause?: unknown;
  /** ms after which asking again makes sense, where that is known. */
  readonly retryAfter?: number;
  /** Asking again cannot help until somebody mends the configuration (credentials, rights, a missing command). */
  readonly permanent?: boolean;
}

/** The key holds another program's value; it was left alone. */
export interface Foreign {
  readonly kind: 'foreign';
  readonly key: string;
  /** What was found there, in words. */
  readonly found: string;
}

/** The server is set up so that locks cannot be kept. */
export interface Misconfigured {
  readonly kind: 'misconfigured';
  readonly option: string;
  readonly value: unknown;
  readonly reason: string;
}

/** One replica, as a master reported it. */
export interface ReplicaReport {
  readonly address: string;
  /** Has confirmed the write in question (in health: answers). */
  readonly acknowledged: boolean;
  /** Bytes of replication it is behind; null while it is not connected. */
  readonly lag: number | null;
}

export type KeyChange =
  | { readonly key: string }
  | { readonly every: true; readonly isLost?: true }
  /** Each key for which it is true. */
  | { readonly where: (key: string) => boolean; readonly isLost?: true };

/** Whether the change may be one of this key. */
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

export interface StoreHealth {
  /** `degraded`: locks are refused or less protected for a reason named in `masters`. */
  readonly status: 'up' | 'degraded' | 'down';
  /** One entry a master; none in memory. */
  readonly masters: readonly MasterHealth[];
}

export interface MasterHealth {
  readonly address: string;
  readonly connected: boolean;
  /** Why it is not `up`, in words. */
  readonly reason?: string;
  /** What should be set otherwise, in words, although locks are granted. */
  readonly warnings?: readonly string[];
  readonly replicas: readonly ReplicaReport[];
  /** @deprecated The old name of `replicas`. Only `LockService.health` fills it in. */
  readonly members?: readonly ReplicaReport[];
  /** ms until new locks are granted, 0 where they are. */
  readonly quarantine: number;
  /** Whether waiters and holders are told of changes by client tracking. */
  readonly tracking: boolean;
  readonly commits: CommitCounts;
}

/** What was sent to a master since the start: `requests` (acquisitions, renewals) in `groups` that each waited for the replicas once. */
export interface CommitCounts {
  readonly groups: number;
  readonly requests: number;
}
