import type { ClusterView } from './cluster-nodes.js';
import { hasSlot, SLOTS, type SlotRanges } from './hash-slot.js';

interface Claim {
  /** The id of the master that serves the slot. */
  readonly owner: string;
  /** The greatest epoch with which the owner was seen to claim the slot. */
  readonly epoch: number;
  /**
   * The monotonic instant since which this process has seen the slot in the owner's shard without a
   * break.
   */
  readonly since: number;
  /** After the slot came, every server proved that it had lost no lock of the slot. */
  readonly isProvenIntact: boolean;
  /**
   * The monotonic instant at which the owner last said that the slot is being moved to another
   * master.
   */
  readonly migratingAt: number;
}

/** After this many ms without an answer, nothing is known of the slots in that time. */
const LONGEST_GAP = 5_000;

/**
 * Which master serves which slot, put together from the views of several servers at several times.
 *
 * Views disagree while something changes. Of two claims, the claim with the greater epoch wins, as
 * in the Cluster itself. A master that says that a slot is not its own any more is believed at
 * once.
 */
export class SlotTable {
  private readonly claims: (Claim | undefined)[] = Array.from({ length: SLOTS });
  /** By master: the greatest epoch, and when the master was last given a slot. */
  private readonly epochs = new Map<string, number>();
  private readonly gainedAt = new Map<string, number>();
  private lastTakenAt = -Infinity;
  /** What `owners` and `rangesOf` found, until a slot gets another owner: thousands may ask. */
  private counts: ReadonlyMap<string, number> | undefined;
  private readonly ranges = new Map<string, string>();

  constructor(
    /** True if the second master replaced the first as a replica of the first. */
    private readonly isSuccession: (before: string, after: string) => boolean,
  ) {}

  ownerOf(slot: number): string | undefined {
    return this.claims[slot]?.owner;
  }

  /**
   * The monotonic instant since which this process has seen the slot in the owner's shard.
   */
  since(slot: number): number {
    return this.claims[slot]?.since ?? Infinity;
  }

  /**
   * Whether all servers have proved, since the slot came to the owner's shard, that no lock in the
   * slot was lost.
   */
  isProvenIntact(slot: number): boolean {
    return this.claims[slot]?.isProvenIntact ?? false;
  }

  /**
   * The monotonic instant at which the owner last said that the slot is being moved to another
   * master. -Infinity: never.
   */
  migratingAt(slot: number): number {
    return this.claims[slot]?.migratingAt ?? -Infinity;
  }

  /** Whether a view was taken in within the last 5 s. */
  isFresh(now: number): boolean {
    return now - this.lastTakenAt <= LONGEST_GAP;
  }

  /**
   * Takes in a server's view of the monotonic instant `at`. Answers the slots that have another
   * owner now.
   */
  takeIn({ author, nodes }: ClusterView, at: number): Set<number> {
    const before = new Map<number, Claim>();
    const changed = new Set<number>();
    const isGap = !this.isFresh(at);
    this.lastTakenAt = at;
    const claimed = new Set<number>();
    for (const { id, epoch, slots } of nodes) {
      for (const [from, to] of slots) {
        for (let slot = from; slot <= to; slot++) {
          claimed.add(slot);
          const known = this.claims[slot];
          if (!this.claim(slot, id, epoch, author, at)) continue;
          changed.add(slot);
          if (known !== undefined) before.set(slot, known);
        }
      }
    }
    this.keepSuccessions(before);
    const away = this.mayHaveBeenAway(nodes, at);
    for (let slot = 0; slot < SLOTS; slot++) {
      const claim = this.claims[slot];
      if (claim === undefined) continue;
      if (claim.owner === author && !claimed.has(slot)) {
        this.claims[slot] = undefined;
        this.forgetCounts();
        changed.add(slot);
      } else if (isGap || away.has(claim.owner))
        this.claims[slot] = { ...claim, since: at, isProvenIntact: false };
    }
    return changed;
  }

  /** The owner of the slot said that `to` owns the slot now. */
  noteMoved(slot: number, to: string, at: number): void {
    this.give(slot, to, this.claims[slot]?.epoch ?? 0, at);
  }

  /** The owner of the slot said that the slot is being moved to another master. */
  noteMigrating(slot: number, at: number): void {
    const claim = this.claims[slot];
    if (claim !== undefined) this.claims[slot] = { ...claim, migratingAt: at };
  }

  /**
   * Masters with slots that came after the monotonic instant `since` and are not proven intact.
   */
  unprovenOwners(since: number): Set<string> {
    const owners = new Set<string>();
    for (const claim of this.claims)
      if (claim !== undefined && !claim.isProvenIntact && claim.since > since) owners.add(claim.owner);
    return owners;
  }

  /**
   * All servers proved, after the monotonic instant `at`, that no lock in the owner's slots was
   * lost. The proof does not cover the slots in `except`.
   */
  noteIntact(owner: string, at: number, except: SlotRanges): void {
    for (const [slot, claim] of this.claims.entries()) {
      if (claim?.owner !== owner || claim.since > at) continue;
      if (!hasSlot(except, slot)) this.claims[slot] = { ...claim, isProvenIntact: true };
    }
  }

  /** How many slots each master has. */
  owners(): ReadonlyMap<string, number> {
    if (this.counts !== undefined) return this.counts;
    const counts = new Map<string, number>();
    for (const claim of this.claims)
      if (claim !== undefined) counts.set(claim.owner, (counts.get(claim.owner) ?? 0) + 1);
    this.counts = counts;
    return counts;
  }

  /** The least slot of each master, in ascending order. */
  firstSlots(): number[] {
    const first = new Map<string, number>();
    for (const [slot, claim] of this.claims.entries())
      if (claim !== undefined && !first.has(claim.owner)) first.set(claim.owner, slot);
    return [...first.values()];
  }

  /** The first slot that no master serves; undefined if all are served. */
  firstUnserved(): number | undefined {
    const slot = this.claims.indexOf(undefined);
    return slot === -1 ? undefined : slot;
  }

  /** The slots of one master, in words: `0-5460, 9000`. */
  rangesOf(owner: string): string {
    const known = this.ranges.get(owner);
    if (known !== undefined) return known;
    const ranges: string[] = [];
    for (let slot = 0; slot < SLOTS; slot++) {
      if (this.ownerOf(slot) !== owner) continue;
      const from = slot;
      while (this.ownerOf(slot + 1) === owner) slot++;
      ranges.push(from === slot ? `${from}` : `${from}-${slot}`);
    }
    const text = ranges.length > 4 ? `${ranges.slice(0, 4).join(', ')}, ...` : ranges.join(', ');
    this.ranges.set(owner, text);
    return text;
  }

  private claim(slot: number, owner: string, epoch: number, author: string, at: number): boolean {
    const known = this.claims[slot];
    if (known?.owner === owner) {
      if (epoch > known.epoch) this.claims[slot] = { ...known, epoch };
      return false;
    }
    if (known !== undefined && epoch <= known.epoch && known.owner !== author) return false;
    this.give(slot, owner, epoch, at);
    return true;
  }

  private give(slot: number, owner: string, epoch: number, at: number): void {
    this.claims[slot] = { owner, epoch, since: at, isProvenIntact: false, migratingAt: -Infinity };
    this.gainedAt.set(owner, at);
    this.forgetCounts();
  }

  private forgetCounts(): void {
    this.counts = undefined;
    this.ranges.clear();
  }

  /**
   * Keeps `since` and `isProvenIntact` of slots whose master was replaced by a replica. The replica
   * takes all slots, so these slots have not left their shard.
   */
  private keepSuccessions(before: ReadonlyMap<number, Claim>): void {
    if (before.size === 0) return;
    const owners = this.owners();
    for (const [slot, { owner, since, isProvenIntact }] of before) {
      const claim = this.claims[slot]!;
      if (!owners.has(owner) && this.isSuccession(owner, claim.owner))
        this.claims[slot] = { ...claim, since, isProvenIntact };
    }
  }

  /**
   * Masters whose epoch has grown although this process knows of no slot that came to them. A
   * master gets a greater epoch with each slot that comes, so a slot of the master may have been
   * away between two views.
   */
  private mayHaveBeenAway(nodes: ClusterView['nodes'], at: number): Set<string> {
    const away = new Set<string>();
    for (const { id, epoch, isMaster } of nodes) {
      const known = this.epochs.get(id);
      if (!isMaster || (known !== undefined && epoch <= known)) continue;
      this.epochs.set(id, epoch);
      if (known !== undefined && at - (this.gainedAt.get(id) ?? -Infinity) > LONGEST_GAP) away.add(id);
    }
    return away;
  }
}
