import type { Reply } from '../resp.js';
import { parseReplicaClients, type ReplicaLine, type ReplicationInfo } from './replication-info.js';
import { carriesFile, isSyncing } from './link-ages.js';

/*
 * INFO lists a replica by the address that the replica announces, which is its identity here. Two
 * lines with the same address are one of two cases:
 *
 *   - One replica with two links. The first link is dead, but the master does not know that yet.
 *     The replica opened the second link after giving up the first. So nothing was acknowledged
 *     over the first link since the second was made.
 *   - Several replicas that announce the same address: one replica-announce-ip and
 *     replica-announce-port for all of them. Each replica confirms for itself. If they counted as
 *     one, a lock would seem confirmed by all of them although only one is alive.
 *
 * The second case is certain in two situations. Either both lines have acknowledged something for
 * longer than a dead link can seem alive. Or both links existed when the more silent of them last
 * acknowledged something. Before that, both cases are possible, and a lock must satisfy the
 * demands of both: see `ReplicaView`.
 */

/**
 * s without an acknowledgement after which a link may be dead. A healthy replica acknowledges every
 * second, and Redis counts whole seconds.
 */
const LONGEST_LIVE_SILENCE = 1;
/** ms for which two lines must have been alive at the same time to belong to different replicas. */
const PROOF_TIME = 3_000;
/** s by which the ages and silences that the server tells may be wrong against each other. */
const UNCERTAINTY = 3;

/** The replicas in one answer of a master, each replica under a name of its own. */
export interface Separated {
  /** As many replicas as certainly exist. */
  readonly certain: ReplicationInfo;
  /** As many replicas as may exist; the same object if there is no doubt. */
  readonly possible: ReplicationInfo;
}

interface AnnouncedAddress {
  /** How many replicas certainly announce this address. */
  certain: number;
  /**
   * The most lines that were, or may have been, alive at the same time since the address last had a
   * single line.
   */
  alive: number;
  /** Since the monotonic instant `since`, at least `lines` lines were alive. */
  proof: { readonly since: number; readonly lines: number } | undefined;
}

/**
 * Separates replicas that announce the same address. Lasts longer than a session: if the count
 * started again with each session, a replica that hangs would be missing.
 */
export class SharedAddresses {
  private readonly addresses = new Map<string, AnnouncedAddress>();
  private readonly seen = new Set<string>();

  /** The addresses that several replicas certainly announce. */
  get shared(): string[] {
    return [...this.addresses].filter(([, { certain }]) => certain > 1).map(([address]) => address);
  }

  /**
   * Takes in the answers of one poll at the monotonic instant `at`: to INFO replication, and to the
   * CLIENT LIST TYPE replica behind it.
   */
  separate(info: ReplicationInfo, linkAnswer: Reply | undefined, at: number): Separated {
    const lines = new Map<string, ReplicaLine[]>();
    for (const line of info.lines) {
      if (!line.isReplica) continue;
      const others = lines.get(line.address);
      if (others === undefined) lines.set(line.address, [line]);
      else others.push(line);
    }
    for (const address of this.addresses.keys()) if (!lines.has(address)) this.forgetDoubts(address);
    if (lines.size === info.lines.length) {
      for (const address of lines.keys()) this.single(address);
      return { certain: info, possible: info };
    }
    const certain = new Map<ReplicaLine, string>();
    const possible = new Map<ReplicaLine, string>();
    let isDoubtful = false;
    const linkCount = info.lines.filter(({ online }) => online).length;
    for (const [address, all] of lines) {
      if (all.length === 1) {
        this.single(address);
        continue;
      }
      const known = this.updateAddress(address, all, linkCount, linkAnswer, at);
      if (known.alive > known.certain) isDoubtful = true;
      // The lines that have acknowledged most come first. If there are more lines than replicas,
      // the rest count as dead links.
      const ordered = all.toSorted((a, b) => Number(b.online) - Number(a.online) || b.offset - a.offset);
      for (const [position, line] of ordered.entries()) {
        certain.set(line, nameOf(address, Math.min(position, known.certain - 1)));
        possible.set(line, nameOf(address, Math.min(position, Math.max(known.certain, known.alive) - 1)));
      }
    }
    const named = renamed(info, certain);
    return { certain: named, possible: isDoubtful ? renamed(info, possible) : named };
  }

  private updateAddress(
    address: string,
    lines: readonly ReplicaLine[],
    linkCount: number,
    linkAnswer: Reply | undefined,
    at: number,
  ): AnnouncedAddress {
    const online = lines.filter((line) => line.online);
    // Lines that were there at this process's first poll may each be a replica that hangs.
    const unknown = { certain: 1, alive: this.seen.has(address) ? 1 : online.length, proof: undefined };
    const known = this.addresses.get(address) ?? unknown;
    this.addresses.set(address, known);
    this.seen.add(address);
    const alive = online.filter(({ silence }) => silence <= LONGEST_LIVE_SILENCE).length;
    known.alive = Math.max(known.alive, alive);
    known.proof =
      alive < 2
        ? undefined
        : { since: known.proof?.since ?? at, lines: Math.min(alive, known.proof?.lines ?? alive) };
    const seen = known.proof !== undefined && at - known.proof.since >= PROOF_TIME ? known.proof.lines : 1;
    known.certain = Math.max(known.certain, seen, provenByAge(online, linkCount, linkAnswer));
    return known;
  }

  private single(address: string): void {
    this.seen.add(address);
    this.forgetDoubts(address);
  }

  private forgetDoubts(address: string): void {
    const known = this.addresses.get(address);
    if (known === undefined) return;
    known.alive = 1;
    known.proof = undefined;
    if (known.certain === 1) this.addresses.delete(address);
  }
}

/**
 * The least number of replicas to which the lines of one address belong. Each link that is younger
 * than the longest silence among them may have replaced a dead link. The same holds for each link
 * that CLIENT LIST lacks. 1 if the server does not tell the ages of links.
 */
function provenByAge(
  online: readonly ReplicaLine[],
  linkCount: number,
  linkAnswer: Reply | undefined,
): number {
  const longestSilence = Math.max(0, ...online.map(({ silence }) => silence));
  const old = parseReplicaClients(linkAnswer).filter(
    (client) => client.age > longestSilence + UNCERTAINTY && !carriesFile(client) && !isSyncing(client),
  ).length;
  return Math.max(1, online.length - Math.max(0, linkCount - old));
}

function nameOf(address: string, position: number): string {
  return position === 0 ? address : `${address} (${position + 1})`;
}

function renamed(info: ReplicationInfo, names: ReadonlyMap<ReplicaLine, string>): ReplicationInfo {
  const lines = info.lines.map((line) => {
    const address = names.get(line);
    return address === undefined || address === line.address ? line : { ...line, address };
  });
  return { ...info, lines };
}

/** The announced address of a replica, from the name that `SharedAddresses` gave it. */
export function announcedAddress(name: string): string {
  return name.replace(/ \(\d+\)$/, '');
}
