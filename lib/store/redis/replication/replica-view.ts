import type { ReplicaReport } from '../../lock-store.js';
import type { Reply } from '../resp.js';
import { countOlderThan, type LinkAges } from './link-ages.js';
import type { KnownReplicas } from './known-replicas.js';
import {
  acknowledgedOffsets,
  acknowledgingLinks,
  agedAtLeast,
  countConfirmed,
  majorityOf,
  requiredConfirmations,
  type ConfirmationDemand,
} from './quorum.js';
import { listedAddresses, replicasIn, syncingLinks, type ReplicationInfo } from './replication-info.js';
import { SharedAddresses } from './shared-addresses.js';

/**
 * s without an acknowledgement after which `health()` says that a replica does not confirm. A
 * healthy replica acknowledges every second, and Redis counts whole seconds.
 */
const LONGEST_CONFIRMING_SILENCE = 2;

export type Verdict =
  | { readonly kind: 'confirmed'; readonly by: number }
  | { readonly kind: 'lacking'; readonly confirmed: number; readonly required: number }
  /** Enough replicas confirmed, but some of them have followed this master for too short a time. */
  | { readonly kind: 'young' };

/** One way to count the replicas. */
interface Count {
  /** From the name of each online replica to the acknowledged offset. */
  readonly acknowledged: ReadonlyMap<string, number>;
  /** How many replicas can confirm a write: online, and not loading the file of a full sync. */
  readonly online: number;
  /** How many more replicas may share the address of a known replica. */
  readonly hidden: number;
}

const NO_REPLICAS: Count = { acknowledged: new Map(), online: 0, hidden: 0 };

/** What one run of a master last said of the replicas, and what follows for a write. */
export class ReplicaView {
  private info: ReplicationInfo | undefined;
  /** Counts only the replicas that certainly exist. */
  private certain = NO_REPLICAS;
  /**
   * Every possible way to count the replicas: a lock must satisfy each. Two ways if replicas may
   * share an address, else one.
   */
  private counts: readonly Count[] = [NO_REPLICAS];
  /**
   * How many links may have confirmed a write. INFO and CLIENT LIST may disagree, and the greater
   * number is safer.
   */
  private countingLinks = 0;

  constructor(
    private readonly knownReplicas: KnownReplicas,
    private readonly linkAges: LinkAges,
    /** ms that a link must have stood before a write, to confirm a grant. */
    private readonly quarantine: number,
    private readonly shared = new SharedAddresses(),
  ) {}

  observe(info: ReplicationInfo, linkAnswer: Reply | undefined, answeredAt: number): void {
    const { certain, possible } = this.shared.separate(info, linkAnswer, answeredAt);
    this.info = certain;
    this.knownReplicas.observe(certain, possible);
    this.linkAges.observe(linkAnswer, answeredAt, certain);
    this.countingLinks = Math.max(acknowledgingLinks(certain), this.linkAges.madeAt.length);
    const loading = Math.max(0, this.linkAges.unacknowledged - syncingLinks(certain));
    this.certain = this.count(certain, loading, 0);
    this.counts = [this.certain];
    if (possible === certain) return;
    const hidden = this.strangersIn(possible) - this.strangersIn(certain);
    this.counts = [this.certain, this.count(possible, loading, hidden)];
  }

  /**
   * `loading` links belong to replicas that INFO calls online, but that still load the file of
   * their full sync. Such a replica cannot confirm anything yet, so the policy 'all' does not
   * wait for it.
   */
  private count(info: ReplicationInfo, loading: number, hidden: number): Count {
    const acknowledged = acknowledgedOffsets(info, (address) => this.knownReplicas.nameOf(address));
    let silent = 0;
    for (const offset of acknowledged.values()) if (offset === 0) silent++;
    return { acknowledged, online: acknowledged.size - Math.min(silent, loading), hidden };
  }

  /** How many replicas the master lists that are not known replicas. */
  private strangersIn(info: ReplicationInfo): number {
    const names = new Set([...listedAddresses(info)].map((address) => this.knownReplicas.nameOf(address)));
    return [...names].filter((name) => !this.knownReplicas.addresses.has(name)).length;
  }

  /** How many replicas must confirm now. */
  required(demand: ConfirmationDemand): number {
    let most = 0;
    for (const count of this.counts) most = Math.max(most, this.requiredBy(count, demand));
    return most;
  }

  /**
   * Whether the replicas have confirmed a write that ended at `offset` and was sent at the
   * monotonic instant `sentAt`. The confirming links must also have stood since `standingSince`.
   */
  judge(demand: ConfirmationDemand, offset: number, sentAt: number, standingSince = Infinity): Verdict {
    let by = Infinity;
    for (const count of this.counts) {
      const confirmed = countConfirmed(count.acknowledged, offset);
      const required = this.requiredBy(count, demand);
      if (confirmed < required) return { kind: 'lacking', confirmed, required };
      const since = Math.min(this.standingBefore(sentAt), standingSince);
      if (demand.anyLinkAge !== true && !this.areTrusted(count, confirmed, since)) return { kind: 'young' };
      by = Math.min(by, confirmed);
    }
    return { kind: 'confirmed', by };
  }

  /**
   * How many replicas acknowledge what this master writes, and whether all links of replicas have
   * stood for a whole quarantine.
   */
  linkEvidence(now: number): { readonly replicas: number; readonly allLinksOld: boolean } {
    const lines = this.info === undefined ? [] : replicasIn(this.info);
    const acknowledging = new Set(
      lines.filter(({ online, offset }) => online && offset > 0).map(({ address }) => address),
    );
    const old = countOlderThan(this.linkAges, this.standingBefore(now));
    const hasSilentLink =
      lines.some(({ online, offset }) => !online || offset === 0) || this.linkAges.unacknowledged > 0;
    return {
      replicas: acknowledging.size,
      allLinksOld: !hasSilentLink && old >= Math.max(lines.length, this.linkAges.madeAt.length),
    };
  }

  /**
   * ms until enough links are old enough for a new grant. 0 if enough links are old. Also 0 if
   * too few replicas are connected for a majority: then the lack of replicas is the reason.
   */
  quarantineLeft(now: number): number {
    const { certain } = this;
    const majority = majorityOf(this.knownIn(certain));
    const acknowledging = this.acknowledgingIn(certain);
    if (
      this.quarantine === 0 ||
      acknowledging < majority ||
      this.areTrusted(certain, acknowledging, this.standingBefore(now))
    )
      return 0;
    // All young links are assumed to belong to replicas that confirm. So links must grow old
    // until a majority without any young link is left.
    const tolerated = acknowledging - majority;
    const madeAt = this.linkAges.madeAt.toSorted((a, b) => a - b);
    const decisive = madeAt[this.countingLinks - tolerated - 1] ?? now;
    return Math.max(1, decisive + this.quarantine - now);
  }

  /**
   * Every known replica, and whether everything up to `offset` was acknowledged. Without
   * `offset`: up to the master's offset as last seen.
   */
  report(offset = this.info?.offset ?? 0): ReplicaReport[] {
    const masterOffset = this.info?.offset ?? 0;
    const { acknowledged: offsets } = this.counts.at(-1)!;
    const addresses = new Set([...this.knownReplicas.addresses, ...offsets.keys()]);
    return [...addresses].map((address) => {
      const acknowledged = offsets.get(address);
      return {
        address,
        acknowledged: acknowledged !== undefined && acknowledged >= offset,
        lag: acknowledged === undefined ? null : Math.max(0, masterOffset - acknowledged),
      };
    });
  }

  /**
   * Every known replica, and whether the replica confirms: it is connected and has acknowledged
   * something within the last 2 s.
   */
  health(): ReplicaReport[] {
    const heard = new Set(
      this.info?.lines
        .filter(({ silence }) => silence <= LONGEST_CONFIRMING_SILENCE)
        .map(({ address }) => this.knownReplicas.nameOf(address)),
    );
    return this.report(0).map((replica) => ({
      ...replica,
      acknowledged: replica.acknowledged && heard.has(replica.address),
    }));
  }

  get replicaCount(): number {
    return this.knownIn(this.counts.at(-1)!);
  }

  /** The master's replication offset as last seen. */
  get masterOffset(): number {
    return this.info?.offset ?? 0;
  }

  /**
   * The monotonic instant since which a link must have stood, to be trusted with a grant that is
   * sent at `instant`.
   */
  private standingBefore(instant: number): number {
    return instant - this.quarantine;
  }

  /** Whether a majority of the replicas confirmed over links that have stood since `since`. */
  private areTrusted(count: Count, confirmed: number, since: number): boolean {
    const majority = majorityOf(this.knownIn(count));
    if (this.quarantine === 0 || majority === 0) return true;
    const old = countOlderThan(this.linkAges, since);
    return agedAtLeast(confirmed, this.countingLinks, old) >= majority;
  }

  /**
   * How many replicas may have confirmed a write: no more than there are links that have
   * acknowledged anything.
   */
  private acknowledgingIn({ acknowledged }: Count): number {
    return Math.min(acknowledged.size, this.countingLinks);
  }

  private requiredBy(count: Count, demand: ConfirmationDemand): number {
    return requiredConfirmations(demand, this.knownIn(count), count.online);
  }

  private knownIn({ hidden }: Count): number {
    return this.knownReplicas.addresses.size + hidden;
  }
}

/**
 * Why no new lock is granted, and for how long: `left` is `ReplicaView.quarantineLeft`. For callers,
 * the log and `health()`.
 */
export function quarantineText(left: number): string {
  return (
    `new locks are granted in ${Math.ceil(left / 1000)} s at the earliest (option quarantine), because the replicas have followed this master ` +
    'for too short a time to be trusted after a fail-over or a restart. Held locks go on.'
  );
}
