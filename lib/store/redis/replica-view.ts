import type { MemberReport } from '../lock-store.js';
import type { Reply } from './connection.js';
import { countOlderThan, type LinkAges } from './link-ages.js';
import type { Members } from './members.js';
import {
  acknowledgedOffsets,
  acknowledgingLinks,
  agedAtLeast,
  countConfirmed,
  majorityOf,
  requiredConfirmations,
  RENEWAL,
  type Demand,
} from './quorum.js';
import { syncingLinks, type ReplicationInfo } from './replication-info.js';

/** s; a replica acknowledges every second, and Redis counts in whole ones. */
const LONGEST_SILENCE = 2;
/** ms after which a look at the master says nothing of now. */
const OLDEST_LOOK = 3_000;

export type Verdict =
  | { readonly kind: 'confirmed'; readonly by: number }
  | { readonly kind: 'lacking'; readonly confirmed: number; readonly required: number }
  /** Enough replicas confirmed, but some of them follow this master for too short a time to be believed. */
  | { readonly kind: 'young' };

/** What one run of a master last said of its replicas, and what follows from it for a write. */
export class ReplicaView {
  private info: ReplicationInfo | undefined;
  private observedAt = -Infinity;
  private acknowledged: ReadonlyMap<string, number> = new Map();

  constructor(
    private readonly members: Members,
    private readonly links: LinkAges,
    /** ms */
    private readonly quarantine: number,
  ) {}

  observe(info: ReplicationInfo, linkAnswer: Reply | undefined, answeredAt: number): void {
    this.info = info;
    this.observedAt = answeredAt;
    this.acknowledged = acknowledgedOffsets(info);
    this.members.observe(info);
    this.links.observe(linkAnswer, answeredAt, info);
  }

  /** How many replicas must confirm, as things stand. */
  required(demand: Demand): number {
    return requiredConfirmations(demand, this.members.addresses.size, this.acknowledged.size - this.loading);
  }

  /**
   * Whether a write counts that ended at `offset` and was sent at the monotonic instant `sentAt`.
   * The links that confirm it must have stood since `standingSince`, too.
   */
  judge(demand: Demand, offset: number, sentAt: number, standingSince = Infinity): Verdict {
    const confirmed = countConfirmed(this.acknowledged, offset);
    const required = this.required(demand);
    if (confirmed < required) return { kind: 'lacking', confirmed, required };
    if (demand !== RENEWAL && !this.areTrusted(confirmed, Math.min(sentAt - this.quarantine, standingSince)))
      return { kind: 'young' };
    return { kind: 'confirmed', by: confirmed };
  }

  /** Whether enough replicas have followed this master for long enough: whatever it may have lost, it lost more than a quarantine ago. */
  isTrusted(now: number): boolean {
    return now - this.observedAt < OLDEST_LOOK && this.areTrusted(this.acknowledging, now - this.quarantine);
  }

  /** ms until enough links are old enough for a new grant; 0 where they are, and where too few replicas are connected to wait for. */
  quarantineLeft(now: number): number {
    const majority = majorityOf(this.members.addresses.size);
    const { acknowledging } = this;
    if (
      this.quarantine === 0 ||
      acknowledging < majority ||
      this.areTrusted(acknowledging, now - this.quarantine)
    )
      return 0;
    // All that are young are assumed to be among those that confirm: so many must grow old until the majority is left.
    const tolerated = acknowledging - majority;
    const madeAt = this.links.madeAt.toSorted((a, b) => a - b);
    const decisive = madeAt[this.countingLinks - tolerated - 1] ?? now;
    return Math.max(1, decisive + this.quarantine - now);
  }

  /** Every member, with whether it holds everything up to `offset` (as things stand now, where none is given). */
  report(offset = this.info?.offset ?? 0): MemberReport[] {
    const masterOffset = this.info?.offset ?? 0;
    const addresses = new Set([...this.members.addresses, ...this.acknowledged.keys()]);
    return [...addresses].map((address) => {
      const acknowledged = this.acknowledged.get(address);
      return {
        address,
        acknowledged: acknowledged !== undefined && acknowledged >= offset,
        lag: acknowledged === undefined ? null : Math.max(0, masterOffset - acknowledged),
      };
    });
  }

  /** Every member, with whether it is confirming: it is connected and has acknowledged something lately. */
  health(): MemberReport[] {
    const silent = new Set(
      this.info?.links.filter(({ silence }) => silence > LONGEST_SILENCE).map(({ address }) => address),
    );
    return this.report(0).map((member) => ({
      ...member,
      acknowledged: member.acknowledged && !silent.has(member.address),
    }));
  }

  get memberCount(): number {
    return this.members.addresses.size;
  }

  /** The master's replication offset as last seen. */
  get masterOffset(): number {
    return this.info?.offset ?? 0;
  }

  /** Whether a majority of the replicas confirmed over links that have stood since the instant. */
  private areTrusted(confirmed: number, since: number): boolean {
    const majority = majorityOf(this.members.addresses.size);
    if (this.quarantine === 0 || majority === 0) return true;
    const old = countOlderThan(this.links, since);
    return agedAtLeast(confirmed, this.countingLinks, old) >= majority;
  }

  /** How many replicas can confirm a write now: online, and not still loading what their full sync brought. */
  private get acknowledging(): number {
    return Math.min(this.acknowledged.size, this.countingLinks);
  }

  /** How many replicas are called online but still load what their full sync brought: they can confirm nothing before that, so 'all' does not wait for them. */
  private get loading(): number {
    if (this.info === undefined) return 0;
    const untold = [...this.acknowledged.values()].filter((offset) => offset === 0).length;
    return Math.min(untold, Math.max(0, this.links.unacknowledged - syncingLinks(this.info)));
  }

  /** How many links may have confirmed a write: INFO and CLIENT LIST need not agree, and the greater number is the safer one. */
  private get countingLinks(): number {
    const listed = this.info === undefined ? 0 : acknowledgingLinks(this.info);
    return Math.max(listed, this.links.madeAt.length);
  }
}
