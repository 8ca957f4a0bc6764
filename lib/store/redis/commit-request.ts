import type { AcquireOutcome, RenewOutcome } from '../lock-store.js';
import type { Validity } from '../validity.js';
import type { CommitLane } from './commit-lane.js';
import type { Demand } from './quorum.js';
import type { Round } from './round.js';

/**
 * Where a write stands on its way to being confirmed:
 *
 *     queued -> sent -> written -> (verifying ->) ended
 *       ^________|_________|____________|      the connection ended, or the key changed meanwhile: asked again
 *
 * *sent*: the script's answer is out. *written*: it took the keys, the replicas have not confirmed yet. *verifying*: they have, but somebody
 * changed one of the keys meanwhile.
 */
export type Stage = 'queued' | 'sent' | 'written' | 'verifying' | 'ended';

interface RequestBase {
  /** As the user named them. */
  readonly names: readonly string[];
  /** As Redis knows them, in the same order. */
  readonly keys: readonly string[];
  readonly owner: string;
  readonly leaseTime: number;
  readonly demand: Demand;
  /** Least token. */
  readonly floor: number;
  /** ms that it may wait for its confirmation once it was sent. */
  readonly window: number;
  /** The monotonic instant at which it ends unless it was written. */
  readonly endsAt: number;
  /** The hash slot of all its keys; 0 where there is no Cluster. */
  readonly slot: number;
  /** The slot is on its way to this master: the script must be announced by ASKING. */
  asking: boolean;
  stage: Stage;
  /** It may have been written by a connection that has ended: to be taken back unless it is granted. */
  mayBeWritten: boolean;
  /** The lane that looks after it. */
  lane: CommitLane;
  /** The round that carried it last. */
  round: Round | undefined;
  token: number;
}

export interface AcquireCommit extends RequestBase {
  readonly kind: 'acquire';
  /** The monotonic instant at which the caller's patience ends; in the past: it has none. */
  readonly waitUntil: number;
  readonly settle: (outcome: AcquireOutcome) => void;
  /** The caller has gone: take it back as soon as that is safe. */
  abandoned: boolean;
}

export interface RenewCommit extends RequestBase {
  readonly kind: 'renew';
  readonly settle: (outcome: RenewOutcome) => void;
  /** What the lock has now: a confirmation after its end comes too late. */
  readonly heldUntil: Validity;
}

export type CommitRequest = AcquireCommit | RenewCommit;
