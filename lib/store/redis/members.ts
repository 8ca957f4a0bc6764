import { listedAddresses, type ReplicationInfo } from './replication-info.js';

/**
 * The replicas that belong to one master, whether they are connected or not: the n of the quorum. A cut-off master drops lost
 * replicas from its own list and would confirm with nobody, so the list alone is never the measure, and the set never
 * shrinks because a question failed.
 */
export interface Members {
  /** How many there are. */
  readonly count: number;
  /** Those that are known by their address. */
  readonly addresses: ReadonlySet<string>;
  /** Takes in what the master lists. */
  observe(info: ReplicationInfo): void;
}

/**
 * Without Sentinel or Cluster nobody names the replicas, so this process counts as many as it has seen at once. One that starts
 * after a crash knows less: a number for `replicas` is the better choice there.
 */
export class MembersBySight implements Members {
  private largest: ReadonlySet<string> = new Set();

  get count(): number {
    return this.largest.size;
  }

  get addresses(): ReadonlySet<string> {
    return this.largest;
  }

  observe(info: ReplicationInfo): void {
    const listed = listedAddresses(info);
    // Of two sets of one size the newer one: a replica that came back under another address is the same one.
    if (listed.size >= this.largest.size) this.largest = listed;
  }
}
