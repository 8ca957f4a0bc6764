import type { Clock } from '../../../common/clock.js';
import { Waiters } from '../../../common/waiters.js';
import type { Connector } from '../connection/connection.js';
import { addressText, type Address } from '../resp.js';
import type { LocatedMaster, MasterLocator } from '../master/master-locator.js';
import type { AnnouncedReplicas } from '../replication/known-replicas.js';
import { isUnknownHost, messageOf, RefusedError, UnknownHostError } from '../connection/error-replies.js';
import { SentinelLink, type SentinelView } from './sentinel-link.js';

/** ms that a search for the master may take. Then the search fails, and is started again. */
const LOCATE_TIME = 1_000;
/**
 * ms that a search waits for the other Sentinels after a majority has answered. A majority
 * authorises every fail-over, so any majority knows the latest one. The other Sentinels are heard
 * only because they may name further replicas. A Sentinel that hangs must not delay every
 * reconnect.
 */
const OTHER_SENTINELS_TIME = 100;

/**
 * The Sentinels of one master. The servers are the union of the servers that the answering
 * Sentinels name. The master is the server that the Sentinel with the greatest epoch names, because
 * the others have not heard of the last fail-over yet.
 */
export class Sentinels implements MasterLocator {
  readonly isFixed = false;
  private readonly links: SentinelLink[];
  private readonly searches: Waiters;
  private named: string | undefined;
  /** The greatest epoch heard of: that of the fail-over which made `named` the master. */
  private epoch = 0;
  private isClosed = false;

  constructor(
    addresses: readonly Address[],
    private readonly name: string,
    connector: Connector,
    private readonly knownReplicas: AnnouncedReplicas,
    /** From the announced address of a server to the address at which this process reaches it. */
    private readonly translate: (address: string) => Address,
    private readonly clock: Clock,
    /** The Sentinels name another master than before. */
    private readonly onSwitch: (identity: string) => void,
  ) {
    this.searches = new Waiters(clock);
    this.links = addresses.map(
      (address) => new SentinelLink(address, name, connector, clock, () => this.onAnswer()),
    );
  }

  open(): void {
    for (const link of this.links) link.open();
  }

  close(): void {
    this.isClosed = true;
    for (const link of this.links) link.close();
    this.searches.notify();
  }

  isCurrent(identity: string): boolean {
    return this.named === undefined || this.named === identity;
  }

  get whereabouts(): string {
    return `master '${this.name}' of Sentinel at ${this.links.map(({ address }) => addressText(address)).join(', ')}`;
  }

  async locate(): Promise<LocatedMaster> {
    for (const link of this.links) link.askNow();
    await this.until(() => this.isSettled || this.hasMajority, LOCATE_TIME);
    await this.until(() => this.isSettled, OTHER_SENTINELS_TIME);
    if (this.named === undefined || this.views.length === 0) throw this.whyNot();
    this.knownReplicas.setMaster(this.named);
    return { address: this.translate(this.named), identity: this.named };
  }

  private get views(): SentinelView[] {
    return this.links.flatMap(({ view }) => view ?? []);
  }

  /** Each Sentinel has answered or failed. */
  private get isSettled(): boolean {
    return this.links.every((link) => link.view !== undefined || link.failure !== undefined);
  }

  private get hasMajority(): boolean {
    return this.views.length * 2 > this.links.length;
  }

  /** Resolves once answers have fulfilled the condition, or after `ms` milliseconds. */
  private async until(isDone: () => boolean, ms: number): Promise<void> {
    const endsAt = this.clock.monotonic() + ms;
    let hasTime = true;
    while (hasTime && !this.isClosed && !isDone())
      hasTime = await this.searches.next(endsAt - this.clock.monotonic());
  }

  private onAnswer(): void {
    const { views } = this;
    if (views.length === 0) this.knownReplicas.noteSilence();
    else {
      const isMinority = !this.hasMajority;
      const servers = new Set(views.flatMap((view) => [...view.servers]));
      this.knownReplicas.setAnnounced(servers, this.clock.monotonic(), isMinority);
      this.knownReplicas.identified(isMinority ? new Set() : followingIn(views), sameServersIn(views));
      const newest = views.reduce((best, view) => (view.epoch > best.epoch ? view : best));
      const before = this.named;
      // A minority that has not heard of the last fail-over must not lead back to the old master.
      // A majority with a smaller epoch was set up again.
      if (newest.epoch < this.epoch && isMinority) return this.searches.notify();
      this.epoch = newest.epoch;
      this.named = newest.master;
      if (before !== undefined && before !== newest.master) this.onSwitch(newest.master);
    }
    this.searches.notify();
  }

  private whyNot(): Error {
    const refused = this.links.map((link) => link.failure).find((failure) => failure instanceof RefusedError);
    if (refused instanceof RefusedError) return refused;
    const each = this.links.map(
      ({ address, failure }) =>
        `${addressText(address)}: ${failure === undefined ? 'no answer yet' : messageOf(failure)}`,
    );
    const isHopeless = this.links.every(({ failure }) => isUnknownHost(failure));
    return new (isHopeless ? UnknownHostError : Error)(
      `no Sentinel of '${this.name}' tells where the master is (${each.join('; ')})`,
    );
  }
}

function followingIn(views: readonly SentinelView[]): Set<string> {
  return new Set(views.flatMap(({ following }) => [...following]));
}

/**
 * The addresses of each run of a server. Sentinels may use different addresses for one server,
 * and even one Sentinel may use two.
 */
function sameServersIn(views: readonly SentinelView[]): Iterable<string[]> {
  const byRun = new Map<string, string[]>();
  for (const { runIds } of views) {
    for (const [address, runId] of runIds)
      if (runId !== '') byRun.set(runId, [...(byRun.get(runId) ?? []), address]);
  }
  return byRun.values();
}
