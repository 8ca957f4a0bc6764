import type { AcquireOutcome, RenewOutcome, Unavailable } from '../../lock-store.js';
import type { Instant, Validity } from '../../validity.js';
import type { LockPart } from '../lock-part.js';
import type { ConfirmationDemand } from '../replication/quorum.js';
import type { LockScripts } from '../scripts/lock-scripts.js';
import type { RenewCall } from '../scripts/renew.js';

/**
 * The stages of a write until its confirmation:
 *
 *     queued -> sent -> written -> (verifying ->) ended
 *       ^________|_________|____________|    connection ended, or key lost: sent again
 *
 * *sent*: the script is not answered yet. *written*: the script took the keys, and the replicas
 * have not confirmed yet. *verifying*: the replicas have confirmed, but so late that the keys are
 * checked once more.
 */
export type Stage = 'queued' | 'sent' | 'written' | 'verifying' | 'ended';

/**
 * This master has written nothing: the slot of the keys belongs to another master, or new locks may
 * not be granted in the slot now. The caller looks for the slot's master again, waits for trust,
 * and asks with the same owner.
 */
export interface RouteAgain {
  readonly kind: 'route-again';
}

export const ROUTE_AGAIN: RouteAgain = { kind: 'route-again' };

/** The group that carried a request. */
export interface SentGroup {
  readonly start: Instant;
  /** The master's replication offset right after the scripts; undefined until it is known. */
  readonly offset: number | undefined;
}

interface RequestBase extends LockPart {
  scripts: LockScripts;
  readonly owner: string;
  readonly leaseTime: number;
  /** ms that the keys live: `leaseTime` and the allowance for the clocks of master and replicas. */
  readonly ttl: number;
  readonly demand: ConfirmationDemand;
  /** ms that the request may wait for its confirmation after it was sent. */
  readonly confirmTime: number;
  /** The position in the order of arrival: earlier requests have smaller numbers. */
  order: number;
  stage: Stage;
  /**
   * A connection that has ended may have written the keys: they are taken back unless the request
   * is granted.
   */
  mayBeWritten: boolean;
  /** The last group that carried the request. */
  group: SentGroup | undefined;
  token: number;
  /**
   * The request gets a batch of its own: a shared batch was refused, perhaps for the keys of this
   * request.
   */
  isAlone: boolean;
  /** The indexes in the sets of `OpenRequests`. */
  openIndex: number;
  pendingIndex: number;
  /**
   * The monotonic instant until which the request waits for the verdict of the WAIT that was ended
   * for the request. Set at most once: groups for other requests may follow each other without a
   * gap.
   *
   * - undefined: the time of the request is not up.
   * - in the future: the time is up, and the answer to the WAIT may still confirm the request.
   * - in the past: that answer did not confirm the request, or did not come in time. The request
   *   ends.
   */
  verdictBy: number | undefined;
}

export interface AcquireCommit extends RequestBase {
  readonly kind: 'acquire';
  /**
   * The monotonic instant until which the caller waits; in the past if the caller does not wait.
   */
  readonly waitUntil: number;
  /**
   * The monotonic instant at which the request ends if no script has written its keys by then.
   */
  readonly endsAt: number;
  /** The smallest token that the request may get. */
  readonly floor: number;
  /** ms that the bare token stays in a key that is given back at once. */
  readonly tombstone: number;
  readonly limit: number;
  readonly wait: number;
  readonly settle: (outcome: AcquireOutcome | RouteAgain) => void;
  /** The caller has given up: the keys are taken back as soon as that is safe. */
  abandoned: boolean;
  /** The request has ended with a grant. */
  granted: boolean;
}

export interface RenewCommit extends RequestBase {
  readonly kind: 'renew';
  readonly settle: (outcome: RenewOutcome | RouteAgain) => void;
  /** The validity that the lock has now: a confirmation after its end comes too late. */
  readonly heldValidity: Validity;
  readonly purpose: RenewCall['purpose'];
  /** What the key keeps if the purpose is `keep`, else empty. */
  readonly result: string;
  /**
   * The server's last refusal. The server may accept the renewal before the lock's validity ends.
   */
  refused: Unavailable | undefined;
}

export type CommitRequest = AcquireCommit | RenewCommit;

/**
 * ms between the sending of a request and its confirmation, above which its keys are checked once
 * more.
 */
export const PROMPT_TIME = 10;

/** A lock that the replicas have confirmed, so late that its keys are checked before the grant. */
export interface LateLock {
  readonly request: AcquireCommit;
  readonly validity: Validity;
  readonly confirmedBy: number;
}
