import type { ReplicaPolicy } from '../../lock-store.js';
import type { ReplicationInfo } from './replication-info.js';

/*
 * Whose confirmation counts. The argument, which the simulation and the fault campaign check:
 *
 * 1. A grant needs the write on a majority of the servers: the master and ceil(n / 2) of its n known replicas. Two masters at the
 *    same time cannot both find a majority among the same servers for long.
 * 2. "For long" is the gap: Sentinel moves replicas one by one, and for about a second one that still follows the old
 *    master confirms there, is moved, and confirms the same lock on the new master. So each replica of that majority must have followed
 *    this master without a break since before t0 - quarantine, where the quarantine is the longest lease that anybody may hold. Whoever
 *    confirmed to another master before that did so for a lease that has ended.
 * 3. The same rule covers every loss of data (a replica promoted that was behind, a restart with an empty or old file, an
 *    old master that comes back): after any of them all links are new, and for one quarantine nothing is granted.
 *
 * 4. The second rule asks for old links of the replicas that confirmed, and of no other replica.
 *    CLIENT LIST names a link by its socket, and INFO by the announced address. The two lists cannot
 *    be matched line by line, so every young link is taken to be that of a replica that confirmed.
 *    Three kinds of lines cannot be, and do not count:
 *      - The link of a replica in full sync, from PSYNC until its first REPLCONF ACK. The replica
 *        receives and loads the file meanwhile, and acknowledges nothing, even if INFO already says
 *        `online`. Counted as young, this link would stop new locks for as long as the sync takes
 *        and a quarantine more, although the other replicas are a majority.
 *      - The second connection of such a replica, which carries the file.
 *      - A client that reads the stream (`redis-cli --rdb`), which never acknowledges.
 *    INFO and CLIENT LIST describe two moments. In between a link may end: a replica that confirmed
 *    by INFO has no line in CLIENT LIST then. A sync may end, too: the line of a replica that did
 *    not confirm looks as if it had. So as many links count as the longer list has; a link that is
 *    missing in CLIENT LIST counts as young; and if INFO shows more syncing replicas than CLIENT
 *    LIST does, as many of the oldest links count as young.
 *
 * A renewal needs only the first rule: its key was granted under both, and a replica that hangs must not cost a held lock.
 */

/** How many replicas make a majority of the servers together with their master. */
export function majorityOf(replicas: number): number {
  return Math.ceil(replicas / 2);
}

/** What one grant asks for. */
export interface Demand {
  readonly policy: ReplicaPolicy;
  /** Permits a grant that no replica confirmed, if the master has none. */
  readonly allowNoReplicas: boolean;
}

/** A renewal: a majority of the servers, whatever the lock asked for. */
export const RENEWAL: Demand = { policy: 'majority', allowNoReplicas: true };

/** How many replicas must confirm, given that `online` of `known replicas` are connected now. */
export function requiredConfirmations(
  { policy, allowNoReplicas }: Demand,
  replicas: number,
  online: number,
): number {
  const wanted = policy === 'all' ? online : policy === 'majority' ? 0 : policy;
  return Math.max(majorityOf(replicas), allowNoReplicas ? 0 : 1, wanted);
}

/** The replicas that are online, each once and by its name, with the highest offset that each has acknowledged. */
export function acknowledgedOffsets(
  info: ReplicationInfo,
  nameOf: (address: string) => string = (address) => address,
): Map<string, number> {
  const offsets = new Map<string, number>();
  for (const { address, online, isReplica, offset } of info.links) {
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

/** How many replication links have ever acknowledged anything: only these can have confirmed a write. */
export function acknowledgingLinks(info: ReplicationInfo): number {
  return info.links.filter(({ online, isReplica, offset }) => online && isReplica && offset > 0).length;
}

/**
 * How many of the replicas that confirmed are sure to have an old link, at the least: all links that are not old are taken to be
 * among theirs. `links` may have confirmed, and `oldLinks` of these are old.
 */
export function agedAtLeast(confirmed: number, links: number, oldLinks: number): number {
  return confirmed - Math.max(0, links - oldLinks);
}
