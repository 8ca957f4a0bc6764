import type {
  AcquireOutcome,
  ReleaseOutcome,
  RenewOutcome,
  RenewPurpose,
  Unavailable,
} from '../../lock-store.js';
import type { Instant, Validity } from '../../validity.js';
import type { Demand } from '../replication/quorum.js';
import type { ReleaseCall } from '../scripts/release.js';

/**
 * Where a write stands on its way to being confirmed:
 *
 *     queued -> sent -> written -> (verifying ->) ended
 *       ^________|_________|____________|      the connection ended, or a key was lost meanwhile: asked again
 *
 * *sent*: the script's answer is out. *written*: it took the keys, the replicas have not confirmed yet. *verifying*: they have, but
 * so late that the keys are checked once more.
 */
export type Stage = 'queued' | 'sent' | 'written' | 'verifying' | 'ended';

/** Another master is in charge of the keys' slot, and this one has written nothing: to be asked there, by the same owner. */
export interface SlotMoved {
  readonly kind: 'slot-moved';
}

export const SLOT_MOVED: SlotMoved = { kind: 'slot-moved' };

/** What a request knows of the group that carried it. */
export interface SentGroup {
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
  /** When it came to the group commit: a smaller number came before. */
  order: number;
  stage: Stage;
  /** It may have been written by a connection that has ended: to be taken back unless it is granted. */
  mayBeWritten: boolean;
  /** The group that carried it last. */
  group: SentGroup | undefined;
  token: number;
  /** The request goes in a run of its own: one that it shared was refused, perhaps for its keys. */
  isAlone: boolean;
  /** Its index in the sets of `GroupCommit`. */
  openIndex: number;
  pendingIndex: number;
  /**
   * The monotonic instant until which the request awaits the verdict of a WAIT that was ended for it; the past once that was given,
   * undefined before its time is up. Once: groups for other requests may follow each other without a gap.
   */
  verdictBy: number | undefined;
}

export interface AcquireCommit extends RequestBase {
  readonly kind: 'acquire';
  /** The monotonic instant at which the caller's patience ends; in the past: it has none. */
  readonly waitUntil: number;
  /** Its token is not smaller than this. */
  readonly floor: number;
  readonly settle: (outcome: AcquireOutcome | SlotMoved) => void;
  /** The caller has gone: take it back as soon as that is safe. */
  abandoned: boolean;
  /** It has ended with a grant. */
  granted: boolean;
}

export interface RenewCommit extends RequestBase {
  readonly kind: 'renew';
  readonly settle: (outcome: RenewOutcome | SlotMoved) => void;
  /** What the lock has now: a confirmation after its end comes too late. */
  readonly heldUntil: Validity;
  readonly purpose: RenewPurpose;
  /** The server's last refusal: it may be allowed again before the lock's validity ends. */
  refused: Unavailable | undefined;
}

export type CommitRequest = AcquireCommit | RenewCommit;

/** A release that Redis has not answered yet. */
export interface Release extends ReleaseCall {
  /** The hash slot of its keys; undefined without a Cluster. */
  readonly slot: number | undefined;
  /** ms that the keys stay busy, counted when it is sent. */
  cooldown: number;
  /** The monotonic instant until which the keys stay busy; undefined if they are freed. */
  readonly cooldownUntil: number | undefined;
  /** The monotonic instant at which the caller is told that no answer came. */
  answerBy: number;
  /** The monotonic instant after which nothing can be left to release. */
  readonly until: number;
  readonly settle: (outcome: ReleaseOutcome) => void;
  wasSent: boolean;
  /** The server may have run it: an answer was lost, or an error came that does not exclude it. */
  mayHaveRun: boolean;
  /** Goes in a run of its own: it was refused together with others. */
  isAlone: boolean;
  /** The server's last refusal. It may accept the release later. */
  refused: Unavailable | undefined;
  /** The index among those without an answer. */
  index: number;
}
