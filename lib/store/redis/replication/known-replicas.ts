import { listedAddresses, type ReplicationInfo } from './replication-info.js';
import { announcedAddress } from './shared-addresses.js';

/**
 * The replicas that belong to one master, whether they are connected or not: the n of the quorum. A cut-off master drops lost
 * replicas from its own list and would confirm with nobody, so the list alone is never the measure, and the set never
 * shrinks because a question failed.
 */
export interface KnownReplicas {
  /** `ip:port` of each. */
  readonly addresses: ReadonlySet<string>;
  /** Takes in what the master lists: the replicas that there certainly are, and those that there may be, see `SharedAddresses`. */
  observe(certain: ReplicationInfo, possible?: ReplicationInfo): void;
  /** Which of `addresses` the replica is that the master lists by this address. */
  nameOf(address: string): string;
  /** What was noticed about the addresses of the replicas, in words; undefined if nothing. */
  readonly oddity: Oddity | undefined;
}

/** Servers that go by several addresses. */
export interface Oddity {
  /** Each is known for the same server as another, and counts once. */
  readonly aliases: ReadonlyMap<string, string>;
  /** Listed by the master and named by nobody: a server that is new, or one that counts twice. */
  readonly strangers: readonly string[];
}

/**
 * Without Sentinel or Cluster nobody names the replicas, so this process counts as many as it has seen at once. One that starts
 * after a crash knows less: a number for `replicas` is the better choice there.
 */
export class ObservedReplicas implements KnownReplicas {
  readonly oddity = undefined;
  addresses: ReadonlySet<string> = new Set();

  observe(certain: ReplicationInfo): void {
    const listed = listedAddresses(certain);
    // Of two sets of one size the newer one: a replica that came back under another address is the same one.
    if (listed.size >= this.addresses.size) this.addresses = listed;
  }

  nameOf(address: string): string {
    return address;
  }
}

/** ms for which nobody may have named or listed a server before it is taken to have left: SENTINEL RESET alone empties the list for 8 s. */
const FORGET_TIME = 60_000;

/*
 * A server goes by several addresses if it announces none or not the same one everywhere: behind address translation CLUSTER NODES names a replica by
 * cluster-announce-ip, and its master lists it by the address that its connection comes from; Sentinel calls a former master by the host name that it was given, and by its
 * IP address once it is a replica. Counted twice, such a server makes n too large: nothing unsafe is granted, and nothing at all once one of two replicas dies.
 * So each server is counted once if it is sure to be the same:
 *
 *   - Sentinel tells the run id of each server. Two addresses with one run id are one server.
 *   - A replica that is known to follow this master, by what its namers have just seen of it, is in this master's list, if not by its name then by another. So if the list has
 *     no more strangers than there are such replicas, each stranger is one of these. Which one does not matter for the count; the same port is likeliest.
 *
 * A stranger for which that does not hold counts as a server of its own: it may have just been attached. A replica that was ever listed by its own name has no other. And who
 * was recognised once stays so, for its namer may lose sight of it when it dies.
 */

/**
 * All servers that Sentinels or the Cluster name, master and replicas, down or not, and all that a master listed, less the master itself. A
 * dead former master is one of them: it may come back and be promoted.
 */
export class AnnouncedReplicas implements KnownReplicas {
  /** Since when nobody has named it, as a monotonic instant; undefined: somebody does. */
  private readonly absentSince = new Map<string, number | undefined>();
  /** Those that Sentinels or the Cluster name, or did. */
  private readonly names = new Set<string>();
  private listed: ReadonlySet<string> = new Set();
  /** The same, and replicas that may be behind the address of another. */
  private possible: ReadonlySet<string> = new Set();
  private master = '';
  /** Named servers that follow this master, as somebody who knows has just said. */
  private following: ReadonlySet<string> = new Set();
  /** Those that this master has listed by their own name. */
  private readonly listedByName = new Set<string>();
  /** Listed addresses that are those of named servers. */
  private readonly recognised = new Set<string>();
  private aliases: ReadonlyMap<string, string> = new Map();
  private sameServers: ReadonlyMap<string, string> = new Map();
  addresses: ReadonlySet<string> = new Set();

  /** Whom the commits go to now. */
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
   * Takes in the union of what was named at the monotonic instant `at`. Where only few could be asked (`isPartial`), that proves nobody's absence: a Sentinel
   * that was just restarted beside a cut-off master names whom that one still hears.
   */
  setAnnounced(addresses: ReadonlySet<string>, at: number, isPartial = false): void {
    for (const address of addresses) {
      this.names.add(address);
      this.absentSince.set(address, undefined);
    }
    if (isPartial) this.unanswered();
    else this.noteAbsence(addresses, at);
    this.update();
  }

  /** Takes in which of the named servers follow this master now, and which addresses are those of one server. */
  identified(following: ReadonlySet<string>, sameServers: Iterable<readonly string[]>): void {
    this.following = following;
    this.sameServers = merged(sameServers);
    this.update();
  }

  /** Nobody could be asked: that proves nobody's absence. */
  unanswered(): void {
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
    // Of several that share an address only one can be named.
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
      // Of several that share an address nobody names the single one.
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
    // Those that follow come first.
    this.aliases = paired(known, [...new Set([...following, ...hidden])]);
  }
}

/** Each address of several that are one server, with the one that stands for all of them. */
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

/** Gives each address a name of its own, as far as there are enough: one with the same port if possible, else the first. */
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
