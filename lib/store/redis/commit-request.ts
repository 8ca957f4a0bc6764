import type { AcquireOutcome, RenewOutcome, RenewPurpose, Unavailable } from '../lock-store.js';
import type { Instant, Validity } from '../validity.js';
import type { Demand } from './quorum.js';

/**
 * Where a write stands on its way to being confirmed:
 *
 *     queued -> sent -> written -> (verifying ->) ended
 *       ^________|_________|____________|      the connection ended, or a key was lost meanwhile: asked again
 *
 * *sent*: the script's answer is out. *written*: it took the keys, the replicas have not confirmed yet. *verifying*: they have, but
 * so late that the keys are looked at once more.
 */
export type Stage = 'queued' | 'sent' | 'written' | 'verifying' | 'ended';

/** Another master is in charge of the keys' slot, and this one has written nothing: to be asked there, by the same owner. */
export interface Misrouted {
  readonly kind: 'misrouted';
}
export const MISROUTED: Misrouted = { kind: 'misrouted' };

/** What a request knows of the round that carried it. */
export interface Carrier {
  readonly start: Instant;
  /** The master's replication offset right after the scripts; undefined until it is known. */
  readonly offset: number | undefined;
}

interface RequestBase {
  /** As the user named them. */
  readonly names: readonly string[];
  /** As Redis knows them, in the same order. */
  readonly keys: readonly string[];
  /** The hash slot of all keys; undefined where there is no Cluster. */
  readonly slot: number | undefined;
  readonly owner: string;
  readonly leaseTime: number;
  /** ms that the keys live: `leaseTime` and the allowance for the clocks of master and replicas. */
  readonly ttl: number;
  readonly demand: Demand;
  /** ms that it may wait for its confirmation once it was sent. */
  readonly window: number;
  /** The monotonic instant at which it ends unless it was written. */
  readonly endsAt: number;
  /** When it came to the lane: a smaller number came before. */
  order: number;
  stage: Stage;
  /** It may have been written by a connection that has ended: to be taken back unless it is granted. */
  mayBeWritten: boolean;
  /** The round that carried it last. */
  round: Carrier | undefined;
  token: number;
  /** The request goes in a run of its own: one that it shared was refused, perhaps for its keys. */
  isAlone: boolean;
  /** Where it stands in the lane's rosters. */
  alivePlace: number;
  pendingPlace: number;
  /**
   * The monotonic instant until which the request awaits the verdict of a WAIT that was ended for it; the past once that was given,
   * undefined before its time is up. Once: rounds for other requests may follow each other without a gap.
   */
  verdictBy: number | undefined;
}

export interface AcquireCommit extends RequestBase {
  readonly kind: 'acquire';
  /** The monotonic instant at which the caller's patience ends; in the past: it has none. */
  readonly waitUntil: number;
  /** Its token is not smaller than this. */
  readonly floor: number;
  readonly settle: (outcome: AcquireOutcome | Misrouted) => void;
  /** The caller has gone: take it back as soon as that is safe. */
  abandoned: boolean;
  /** It has ended with a grant. */
  granted: boolean;
}

export interface RenewCommit extends RequestBase {
  readonly kind: 'renew';
  readonly settle: (outcome: RenewOutcome | Misrouted) => void;
  /** What the lock has now: a confirmation after its end comes too late. */
  readonly heldUntil: Validity;
  readonly purpose: RenewPurpose;
  /** The server's last refusal: it may be allowed again before the lock's validity ends. */
  refused: Unavailable | undefined;
}

export type CommitRequest = AcquireCommit | RenewCommit;
