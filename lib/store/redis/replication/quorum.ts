import type { ReplicaPolicy } from '../../lock-store.js';
import type { ReplicationInfo } from './replication-info.js';

/*
 * Which confirmations count. The simulation and the fault campaign check this argument:
 *
 * 1. A grant needs the write on a majority of the servers: on the master and on ceil(n / 2) of the
 *    n known replicas. Two masters at the same time cannot both have a majority of the same
 *    servers for long.
 * 2. "For long" is the gap in rule 1. Sentinel moves replicas to a new master one by one. For
 *    about a second, a replica may still follow the old master and confirm a lock there. Then
 *    that replica is moved, and confirms the same lock to the new master. So each replica of the
 *    majority must have followed this master without a break since before t0 - quarantine. Here
 *    t0 is the instant at which the write was sent, and the quarantine is the longest lease that
 *    any program may hold. If such a replica confirmed to another master before, that was for a
 *    lease that has ended.
 * 3. Rule 2 covers every loss of data, too. Examples are the promotion of a replica that was
 *    behind, a restart with an empty or old file, and an old master that comes back. After each
 *    of these all links are new, and nothing is granted for one quarantine.
 * 4. Rule 2 asks for old links of the replicas that confirmed, and of no other replica. CLIENT
 *    LIST names a link by its socket, and INFO by the announced address. The two lists cannot be
 *    matched line by line, so every young link is assumed to belong to a replica that confirmed.
 *    Three kinds of links cannot belong to such a replica, and do not count:
 *      - The link of a replica in full sync, from PSYNC until its first REPLCONF ACK. The replica
 *        receives and loads the file meanwhile, and acknowledges nothing, even if INFO already
 *        says `online`. If this link counted as young, new locks would stop for the time of the
 *        sync and a quarantine more. Yet the other replicas are a majority.
 *      - The second connection of such a replica, which carries the file.
 *      - A client that reads the stream (`redis-cli --rdb`), which never acknowledges.
 *    INFO and CLIENT LIST describe two moments. In between a link may end: a replica that
 *    confirmed by INFO has no line in CLIENT LIST then. A sync may end, too: the link of a
 *    replica that did not confirm then looks like the link of a replica that did. So three rules
 *    apply. As many links count as the longer list has. A link that CLIENT LIST lacks counts as
 *    young. And if INFO shows more syncing replicas than CLIENT LIST does, so many of the oldest
 *    links count as young.
 *
 * A renewal needs rule 1 only. The key was granted under all rules, and a replica that hangs must
 * not cost a held lock. A result that the holder leaves in the key needs rule 1, and the replicas of
 * the lock's policy: no holder relies on the result, so the age of the links does not matter.
 */

/** How many replicas make a majority of the servers, together with their master. */
export function majorityOf(replicas: number): number {
  return Math.ceil(replicas / 2);
}

/** Which confirmations a request asks for. */
export interface ConfirmationDemand {
  readonly policy: ReplicaPolicy;
  /** Permits a grant without any confirmation, if the master has no replica. */
  readonly allowNoReplicas: boolean;
  /** Rule 1 is enough: no grant, but a write of the holder. */
  readonly anyLinkAge?: true;
}

/** A renewal needs a majority of the servers, whatever policy the lock has. */
export const RENEWAL: ConfirmationDemand = { policy: 'majority', allowNoReplicas: true, anyLinkAge: true };

/** How many replicas must confirm, if `replicas` are known and `online` of them are connected. */
export function requiredConfirmations(
  { policy, allowNoReplicas }: ConfirmationDemand,
  replicas: number,
  online: number,
): number {
  const wanted = policy === 'all' ? online : policy === 'majority' ? 0 : policy;
  return Math.max(majorityOf(replicas), allowNoReplicas ? 0 : 1, wanted);
}

/** From the name of each online replica to the highest acknowledged offset. */
export function acknowledgedOffsets(
  info: ReplicationInfo,
  nameOf: (address: string) => string = (address) => address,
): Map<string, number> {
  const offsets = new Map<string, number>();
  for (const { address, online, isReplica, offset } of info.lines) {
    if (!online || !isReplica) continue;
    const name = nameOf(address);
    offsets.set(name, Math.max(offset, offsets.get(name) ?? 0));
  }
  return offsets;
}

/** How many distinct replicas hold everything up to `offset`. */
export function countConfirmed(offsets: ReadonlyMap<string, number>, offset: number): number {
  let confirmed = 0;
  for (const acknowledged of offsets.values()) if (acknowledged >= offset) confirmed++;
  return confirmed;
}

/** How many links have ever acknowledged anything: only these can have confirmed a write. */
export function acknowledgingLinks(info: ReplicationInfo): number {
  return info.lines.filter(({ online, isReplica, offset }) => online && isReplica && offset > 0).length;
}

/**
 * The least number of confirming replicas that certainly have an old link, if `links` may have
 * confirmed and `oldLinks` of these are old. Every young link is assumed to belong to a replica
 * that confirmed.
 */
export function agedAtLeast(confirmed: number, links: number, oldLinks: number): number {
  return confirmed - Math.max(0, links - oldLinks);
}
