import type { Reply } from '../resp.js';
import { parseReplicaClients, type ReplicaLine, type ReplicationInfo } from './replication-info.js';

/*
 * INFO lists a replica by the address that it announces, and that is its identity here. Two lines of one address are one of two things:
 *
 *   - One replica, whose former link is dead while its master does not know that yet. The replica has opened the second link after it gave up the first.
 *     So nothing was acknowledged over the first link since the second was made.
 *   - Several replicas that announce the same address (one replica-announce-ip and replica-announce-port for all of them). Each confirms for itself. Counted as one, a lock
 *     would pass for confirmed by all of them although only one is alive.
 *
 * The second is certain if two lines have both acknowledged something for longer than a dead link can seem alive, or if their links were both there when the more
 * silent one of them last acknowledged something. Before that both are possible, and a lock must satisfy both: see `ReplicaView`.
 */

/** s without an acknowledgement after which a link may be dead: a replica that is well acknowledges every second, and Redis counts in whole ones. */
const LONGEST_LIVE_SILENCE = 1;
/** ms for which lines must have been alive side by side to be of different replicas. */
const PROOF_TIME = 3_000;
/** s by which the ages and silences that the server tells may differ. */
const UNCERTAINTY = 3;

/** The replicas of one look at a master, each line under a name of its own. */
export interface Separated {
  /** As many replicas as there certainly are. */
  readonly certain: ReplicationInfo;
  /** As many as there may be; the same object where there is no doubt. */
  readonly possible: ReplicationInfo;
}

interface Address {
  /** How many replicas certainly announce it. */
  certain: number;
  /** The most lines that were, or may have been, alive at once since it was last the address of a single line. */
  alive: number;
  /** The least lines that were alive since the monotonic instant. */
  proof: { readonly since: number; readonly lines: number } | undefined;
}

/** Tells the replicas apart that announce one address. Lasts longer than a session, for a replica that hangs is not counted anew. */
export class SharedAddresses {
  private readonly addresses = new Map<string, Address>();
  private readonly seen = new Set<string>();

  /** The addresses that several replicas announce for certain. */
  get shared(): string[] {
    return [...this.addresses].filter(([, { certain }]) => certain > 1).map(([address]) => address);
  }

  /** Takes in one look at the monotonic instant `at`: INFO replication, and what CLIENT LIST TYPE replica answered behind it. */
  separate(info: ReplicationInfo, linkAnswer: Reply | undefined, at: number): Separated {
    const lines = new Map<string, ReplicaLine[]>();
    for (const line of info.links) {
      if (!line.isReplica) continue;
      const others = lines.get(line.address);
      if (others === undefined) lines.set(line.address, [line]);
      else others.push(line);
    }
    for (const address of this.addresses.keys()) if (!lines.has(address)) this.forgetDoubts(address);
    if (lines.size === info.links.length) {
      for (const address of lines.keys()) this.single(address);
      return { certain: info, possible: info };
    }
    const certain = new Map<ReplicaLine, string>();
    const possible = new Map<ReplicaLine, string>();
    let isDoubtful = false;
    const linkCount = info.links.filter(({ online }) => online).length;
    for (const [address, all] of lines) {
      if (all.length === 1) {
        this.single(address);
        continue;
      }
      const known = this.look(address, all, linkCount, linkAnswer, at);
      if (known.alive > known.certain) isDoubtful = true;
      // Those that have acknowledged most come first: among more lines than replicas the rest are taken for dead links.
      const ordered = all.toSorted((a, b) => Number(b.online) - Number(a.online) || b.offset - a.offset);
      for (const [place, line] of ordered.entries()) {
        certain.set(line, nameOf(address, Math.min(place, known.certain - 1)));
        possible.set(line, nameOf(address, Math.min(place, Math.max(known.certain, known.alive) - 1)));
      }
    }
    const named = renamed(info, certain);
    return { certain: named, possible: isDoubtful ? renamed(info, possible) : named };
  }

  private look(
    address: string,
    lines: readonly ReplicaLine[],
    linkCount: number,
    linkAnswer: Reply | undefined,
    at: number,
  ): Address {
    const online = lines.filter((line) => line.online);
    // Of lines that this process has not seen coming, each may be a replica that hangs.
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
 * How many replicas the lines of one address are at the least: every link that is younger than the longest silence among them may have taken the place of a dead one. So
 * may every link that CLIENT LIST lacks. 1 if the server does not tell the age of its links.
 */
function provenByAge(
  online: readonly ReplicaLine[],
  linkCount: number,
  linkAnswer: Reply | undefined,
): number {
  const longestSilence = Math.max(0, ...online.map(({ silence }) => silence));
  const old = parseReplicaClients(linkAnswer).filter(
    ({ age, flags, command }) =>
      age > longestSilence + UNCERTAINTY && !flags.includes('C') && command !== 'psync' && command !== 'sync',
  ).length;
  return Math.max(1, online.length - Math.max(0, linkCount - old));
}

function nameOf(address: string, place: number): string {
  return place === 0 ? address : `${address} (${place + 1})`;
}

function renamed(info: ReplicationInfo, names: ReadonlyMap<ReplicaLine, string>): ReplicationInfo {
  const links = info.links.map((line) => {
    const address = names.get(line);
    return address === undefined || address === line.address ? line : { ...line, address };
  });
  return { ...info, links };
}

/** The announced address of a replica that has a name of its own. */
export function announcedAddress(name: string): string {
  return name.replace(/ \(\d+\)$/, '');
}
