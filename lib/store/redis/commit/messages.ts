import { namesOf } from '../../key-names.js';
import type { Unavailable, Unconfirmed } from '../../lock-store.js';
import { quarantineText } from '../replication/replica-view.js';
import { addressText } from '../resp.js';
import type { ReplicationInfo } from '../replication/replication-info.js';
import type { Session } from '../connection/session.js';

/**
 * Why the session cannot go on: the server is not the same master any more, or hides what is
 * needed.
 */
export function whyUnusable(session: Session, info: ReplicationInfo | undefined): Error | undefined {
  const where = nameOf(session);
  if (info === undefined)
    return new Error(`${where} hides INFO replication, without which replicas cannot confirm a lock`);
  if (info.role !== 'master') return new Error(`${where} is no master any more`);
  if (info.replid !== session.run.replid)
    return new Error(`${where} began another replication history, as after a restart`);
  return undefined;
}

export function hiddenOffset(session: Session): Error {
  return new Error(
    `${nameOf(session)} hides its replication offset, without which replicas cannot confirm a lock`,
  );
}

export function noAnswer(session: Session): Unavailable {
  return { kind: 'unavailable', reason: `${nameOf(session)} did not answer in time.` };
}

/** For an attempt that a master may have written before its slot moved to another master. */
export const SLOT_LEFT: Unavailable = {
  kind: 'unavailable',
  reason:
    'the slot of its keys moved to another master during the attempt, so the lock is taken back. Try again.',
};

export function withoutReplica(where: string): string {
  return `${where} has no replica, so every lock on it is refused: attach one, or set allowNoReplicas: true if a single server must do (then its crash can hand a lock out twice).`;
}

/** The refusal of a lock on a master that has no replica at all. */
export function noReplica(required: number): Unconfirmed {
  return { kind: 'unconfirmed', confirmed: 0, required, replicas: [], permanent: true };
}

/** `left`: ms until the replicas can be trusted with new locks. */
export function quarantined(left: number): Unavailable {
  return { kind: 'unavailable', reason: quarantineText(left), retryAfter: left };
}

/**
 * The links are older than the quarantine, but not older than a longer lease that was seen on the
 * key.
 */
export function longLease(keys: readonly string[]): Unavailable {
  return {
    kind: 'unavailable',
    reason:
      `the last lease of ${namesOf(keys)} was longer than the quarantine, and the replicas follow this master ` +
      'for too short a time to tell that it has ended. Raise quarantine to the longest lease of any program on this Redis.',
  };
}

function nameOf({ address }: Session): string {
  return `Redis at ${addressText(address)}`;
}
