import { listedAddresses, type ReplicationInfo } from './replication-info.js';
import { announcedAddress } from './shared-addresses.js';

/**
 * The replicas that belong to one master, connected or not: the n of the quorum. A master that is
 * cut off drops lost replicas from the list, and would confirm a write without any replica.
 * So the list alone is never the measure, and a question that fails never makes the set smaller.
 */
export interface KnownReplicas {
  /** `ip:port` of each. */
  readonly addresses: ReadonlySet<string>;
  /**
   * Takes in what the master lists: the replicas that certainly exist, and the replicas that may
   * exist, see `SharedAddresses`.
   */
  observe(certain: ReplicationInfo, possible?: ReplicationInfo): void;
  /** The name in `addresses` of the replica that the master lists under this address. */
  nameOf(address: string): string;
  /** What is unusual about the addresses of the replicas; undefined if nothing. */
  readonly oddity: Oddity | undefined;
}

/** Servers that have, or may have, several addresses. */
export interface Oddity {
  /** From an address to the name of the server. The server has both and counts once. */
  readonly aliases: ReadonlyMap<string, string>;
  /**
   * Addresses that the master lists and no Sentinel or Cluster node names: of a new server, or of a
   * server that counts twice.
   */
  readonly strangers: readonly string[];
}

/**
 * Without Sentinel or Cluster the replicas have no source but the master's list. So this process
 * counts as many replicas as it has seen at once. A process that starts after a crash knows
 * fewer: a number for the option `replicas` is the better choice there.
 */
export class ObservedReplicas implements KnownReplicas {
  readonly oddity = undefined;
  addresses: ReadonlySet<string> = new Set();

  observe(certain: ReplicationInfo): void {
    const listed = listedAddresses(certain);
    // Of two sets of the same size, the newer set counts: a replica that came back under another
    // address is the same replica.
    if (listed.size >= this.addresses.size) this.addresses = listed;
  }

  nameOf(address: string): string {
    return address;
  }
}

/**
 * ms without being named or listed after which a server is forgotten. SENTINEL RESET alone empties
 * the list of a Sentinel for 8 s.
 */
const FORGET_TIME = 60_000;

/*
 * A server has several addresses if it announces none, or different addresses to different
 * servers. Two examples:
 *
 *   - Behind address translation CLUSTER NODES names a replica by cluster-announce-ip, but the
 *     master lists that replica by the source address of the connection.
 *   - Sentinel names a master by the host name that the operator gave. After that server has
 *     become a replica, Sentinel names the server by its IP address.
 *
 * If such a server is counted twice, n is too large. Nothing unsafe is granted then, but nothing
 * at all is granted once one of two replicas dies. So two addresses count as one server if they
 * are sure to be the same server. There are two proofs:
 *
 *   - Sentinel tells the run id of each server. Two addresses with the same run id are one
 *     server.
 *   - Sentinel or the Cluster has just seen that some named replicas follow this master. Each of
 *     them is in the master's list, under its name or under another address. Call an address in
 *     the list that has no name a stranger, and a named follower that the list lacks a hidden
 *     follower. If there are no more strangers than hidden followers, each stranger is one of
 *     these followers. Which follower a stranger is does not matter for the count; the same port
 *     is the best guess.
 *
 * A stranger without such a proof counts as a further server: an operator may just have attached
 * that server. A replica that the master has ever listed by name has no other address. And an
 * address that was recognised once stays recognised, because Sentinel or the Cluster may lose
 * sight of a replica when that replica dies.
 */

/**
 * All servers that Sentinels or the Cluster name, up or down, and all that the master lists,
 * without the master itself. A dead former master belongs to the set: that server may come back
 * and be promoted.
 */
export class AnnouncedReplicas implements KnownReplicas {
  /**
   * The monotonic instant since which a server is not named or listed. Undefined: the server is.
   */
  private readonly absentSince = new Map<string, number | undefined>();
  /** The servers that Sentinels or the Cluster name, or have named. */
  private readonly names = new Set<string>();
  private listed: ReadonlySet<string> = new Set();
  /** `listed`, and the replicas that may share the address of another replica. */
  private possible: ReadonlySet<string> = new Set();
  private master = '';
  /** Named servers that follow this master, by what a Sentinel or the master has just said. */
  private following: ReadonlySet<string> = new Set();
  /** The servers that this master has ever listed by their name. */
  private readonly listedByName = new Set<string>();
  /** Listed addresses that were proved to be another address of a named server. */
  private readonly recognised = new Set<string>();
  private aliases: ReadonlyMap<string, string> = new Map();
  private sameServers: ReadonlyMap<string, string> = new Map();
  addresses: ReadonlySet<string> = new Set();

  /** Locks are written to this server from now on. */
  setMaster(address: string): void {
    if (address !== this.master) this.following = new Set();
    this.master = address;
    this.names.add(address);
    this.absentSince.set(address, undefined);
    this.update();
  }

  observe(certain: ReplicationInfo, possible = certain): void {
    const listed = listedAddresses(certain);
    const doubtful = possible === certain ? listed : listedAddresses(possible);
    if (isSame(listed, this.listed) && isSame(doubtful, this.possible)) return;
    this.listed = listed;
    this.possible = doubtful;
    this.update();
  }

  /**
   * Takes in the union of the servers that were named at the monotonic instant `at`. `isPartial`:
   * only a minority could be asked, which does not prove that any server is absent. For example,
   * a Sentinel that was restarted beside a master that is cut off names only the servers which
   * that master hears.
   */
  setAnnounced(addresses: ReadonlySet<string>, at: number, isPartial = false): void {
    for (const address of addresses) {
      this.names.add(address);
      this.absentSince.set(address, undefined);
    }
    if (isPartial) this.noteSilence();
    else this.noteAbsence(addresses, at);
    this.update();
  }

  /**
   * Takes in which named servers follow this master now, and which addresses belong to one
   * server.
   */
  identified(following: ReadonlySet<string>, sameServers: Iterable<readonly string[]>): void {
    this.following = following;
    this.sameServers = merged(sameServers);
    this.update();
  }

  /** No Sentinel or node answered, which does not prove that any server is absent. */
  noteSilence(): void {
    this.following = new Set();
    for (const address of this.absentSince.keys()) this.absentSince.set(address, undefined);
  }

  nameOf(address: string): string {
    const name = this.aliases.get(address) ?? address;
    return this.sameServers.get(name) ?? name;
  }

  get oddity(): Oddity | undefined {
    const aliases = new Map(this.aliases);
    for (const [address, name] of this.sameServers) if (address !== name) aliases.set(address, name);
    // Of several replicas that share an address, only one can be named.
    const strangers = this.strangers.filter(
      (address) =>
        this.listed.has(address) && !this.aliases.has(address) && !this.names.has(announcedAddress(address)),
    );
    return aliases.size === 0 && strangers.length === 0 ? undefined : { aliases, strangers };
  }

  private get strangers(): string[] {
    return [...this.possible].filter((address) => !this.names.has(address));
  }

  private noteAbsence(named: ReadonlySet<string>, at: number): void {
    const present = new Set([...this.listed].map((address) => this.nameOf(address)));
    for (const [address, since] of this.absentSince) {
      // Replicas that share an address have names of their own here; only their address is named.
      if (named.has(announcedAddress(address)) || present.has(address) || address === this.master) continue;
      if (since === undefined) this.absentSince.set(address, at);
      else if (at - since >= FORGET_TIME) this.forget(address);
    }
  }

  private forget(address: string): void {
    this.absentSince.delete(address);
    this.names.delete(address);
    this.listedByName.delete(address);
  }

  private update(): void {
    for (const address of this.listed) if (this.names.has(address)) this.listedByName.add(address);
    for (const name of this.names) this.recognised.delete(name);
    this.recognise();
    for (const address of this.listed) {
      if (this.aliases.has(address)) this.absentSince.delete(address);
      else this.absentSince.set(address, undefined);
    }
    const addresses = new Set([...this.absentSince.keys()].map((address) => this.nameOf(address)));
    addresses.delete(this.nameOf(this.master));
    this.addresses = addresses;
  }

  private recognise(): void {
    const { strangers } = this;
    const present = new Set([...this.listed].map((address) => this.sameServers.get(address) ?? address));
    const hidden = [...this.names].filter(
      (name) =>
        name !== this.master &&
        !this.listedByName.has(name) &&
        !present.has(this.sameServers.get(name) ?? name),
    );
    const following = hidden.filter((name) => this.following.has(name));
    if (strangers.length <= following.length) for (const address of strangers) this.recognised.add(address);
    const known = strangers.filter((address) => this.recognised.has(address));
    // Followers come first: they are the proved ones.
    this.aliases = paired(known, [...new Set([...following, ...hidden])]);
  }
}

/** From each address of a server that has several to the address that stands for all of them. */
function merged(groups: Iterable<readonly string[]>): Map<string, string> {
  const servers = new Map<string, Set<string>>();
  for (const group of groups) {
    const all = new Set(group.flatMap((address) => [address, ...(servers.get(address) ?? [])]));
    for (const address of all) servers.set(address, all);
  }
  return new Map([...servers].map(([address, all]) => [address, [...all].toSorted()[0]!]));
}

function isSame(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  if (one.size !== other.size) return false;
  for (const each of one) if (!other.has(each)) return false;
  return true;
}

/**
 * Gives each address a name of its own, as long as there are names. A name with the same port is
 * preferred, then the first one left.
 */
function paired(addresses: readonly string[], names: readonly string[]): Map<string, string> {
  const pairs = new Map<string, string>();
  const left = new Set(names);
  const pair = (address: string, name: string | undefined): void => {
    if (name === undefined) return;
    pairs.set(address, name);
    left.delete(name);
  };
  for (const address of addresses)
    pair(
      address,
      [...left].find((name) => portOf(name) === portOf(address)),
    );
  for (const address of addresses) if (!pairs.has(address)) pair(address, [...left][0]);
  return pairs;
}

function portOf(address: string): string {
  const announced = announcedAddress(address);
  return announced.slice(announced.lastIndexOf(':'));
}
