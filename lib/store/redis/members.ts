import { listedAddresses, type ReplicationInfo } from './replication-info.js';

/**
 * The replicas that belong to one master, whether they are connected or not: the n of the quorum. A cut-off master drops lost
 * replicas from its own list and would confirm with nobody, so the list alone is never the measure, and the set never
 * shrinks because a question failed.
 */
export interface Members {
  /** `ip:port` of each. */
  readonly addresses: ReadonlySet<string>;
  /** Takes in what the master lists. */
  observe(info: ReplicationInfo): void;
}

/**
 * Without Sentinel or Cluster nobody names the replicas, so this process counts as many as it has seen at once. One that starts
 * after a crash knows less: a number for `replicas` is the better choice there.
 */
export class MembersBySight implements Members {
  addresses: ReadonlySet<string> = new Set();

  observe(info: ReplicationInfo): void {
    const listed = listedAddresses(info);
    // Of two sets of one size the newer one: a replica that came back under another address is the same one.
    if (listed.size >= this.addresses.size) this.addresses = listed;
  }
}

/** ms for which nobody may have named or listed a server before it is taken to have left: SENTINEL RESET alone empties the list for 8 s. */
const FORGET_TIME = 60_000;

/**
 * All servers that Sentinels or the Cluster name, master and replicas, down or not, and all that a master listed, less the master itself. A
 * dead former master is one of them: it may come back and be promoted.
 */
export class NamedMembers implements Members {
  /** Since when nobody has named it, as a monotonic instant; undefined: somebody does. */
  private readonly absentSince = new Map<string, number | undefined>();
  private listed: ReadonlySet<string> = new Set();
  private master = '';
  addresses: ReadonlySet<string> = new Set();

  /** Whom the commits go to now. */
  setMaster(address: string): void {
    this.master = address;
    this.absentSince.set(address, undefined);
    this.update();
  }

  observe(info: ReplicationInfo): void {
    this.listed = listedAddresses(info);
    for (const address of this.listed) this.absentSince.set(address, undefined);
    this.update();
  }

  /**
   * Takes in the union of what was named at the monotonic instant `at`. Where only few could be asked (`isPartial`), that proves nobody's absence: a Sentinel
   * that was just restarted beside a cut-off master names whom that one still hears.
   */
  named(addresses: ReadonlySet<string>, at: number, isPartial = false): void {
    for (const address of addresses) this.absentSince.set(address, undefined);
    if (isPartial) this.unanswered();
    else this.noteAbsence(addresses, at);
    this.update();
  }

  /** Nobody could be asked: that proves nobody's absence. */
  unanswered(): void {
    for (const address of this.absentSince.keys()) this.absentSince.set(address, undefined);
  }

  private noteAbsence(named: ReadonlySet<string>, at: number): void {
    for (const [address, since] of this.absentSince) {
      if (named.has(address) || this.listed.has(address) || address === this.master) continue;
      if (since === undefined) this.absentSince.set(address, at);
      else if (at - since >= FORGET_TIME) this.absentSince.delete(address);
    }
  }

  private update(): void {
    const addresses = new Set(this.absentSince.keys());
    addresses.delete(this.master);
    this.addresses = addresses;
  }
}
