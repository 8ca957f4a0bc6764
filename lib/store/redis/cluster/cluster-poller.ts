import type { Clock } from '../../../common/clock.js';
import type { Unavailable } from '../../lock-store.js';
import type { Connector } from '../connection/connection.js';
import { POLL_TIME, retryPause } from '../pauses.js';
import type { Address } from '../resp.js';
import type { ClusterView } from './cluster-nodes.js';
import { ClusterSurvey, whyUnknown } from './cluster-survey.js';
import type { Shard } from './shard.js';

/** ms between two polls while a request waits for a slot that is being moved. */
const HURRIED_TIME = 100;
/** ms within which a further poll would bring nothing new. */
const SAME_POLL = 20;

/** The nodes that can be asked, and what is done with their answers. */
export interface PolledCluster {
  readonly shards: readonly Shard[];
  /** All nodes, as far as known; else the seeds. */
  readonly addresses: readonly Address[];
  onView(view: ClusterView, at: number): void;
  /** No node answered, the `times`-th time in a row. */
  onSilence(failure: Unavailable, times: number): void;
}

/**
 * Decides when the nodes of a Cluster are asked which master serves which slot: every second, when
 * a master redirects a request, and every 100 ms while a slot is being moved.
 */
export class ClusterPoller {
  private readonly survey: ClusterSurvey;
  private state: 'new' | 'open' | 'closed' = 'new';
  private lastPoll: { readonly at: number; readonly answered: Promise<void> } | undefined;
  private failures = 0;
  private stopPolling: () => void = () => {};
  private isHurried = false;
  /** A node has answered before. */
  private wasKnown = false;
  /** Why no node answered the last poll; undefined if one did. */
  failure: Unavailable | undefined = {
    kind: 'unavailable',
    reason: 'The Redis Cluster is not connected yet.',
  };

  constructor(
    private readonly cluster: PolledCluster,
    connector: Connector,
    private readonly clock: Clock,
  ) {
    this.survey = new ClusterSurvey(connector, clock);
  }

  open(): void {
    this.state = 'open';
    void this.poll();
  }

  close(): void {
    this.state = 'closed';
    this.stopPolling();
    this.survey.close();
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  get isClosed(): boolean {
    return this.state === 'closed';
  }

  /**
   * Asks now, unless the nodes were asked less than 20 ms ago. Resolves when a node has answered or
   * all have failed.
   */
  refresh(): Promise<void> {
    const now = this.clock.monotonic();
    if (this.lastPoll === undefined || now - this.lastPoll.at > SAME_POLL)
      this.lastPoll = { at: now, answered: this.ask() };
    return this.lastPoll.answered;
  }

  /** A request waits for a slot that is being moved: the next poll comes soon. */
  hurry(): void {
    if (this.isHurried) return;
    this.isHurried = true;
    this.stopPolling();
    this.stopPolling = this.clock.after(HURRIED_TIME, () => void this.poll());
  }

  private async poll(): Promise<void> {
    this.isHurried = false;
    await this.refresh();
    if (this.isClosed) return;
    // `hurry` may have been called meanwhile.
    this.stopPolling();
    const retry = retryPause(this.failures);
    const pause = this.failure !== undefined ? retry : this.isHurried ? HURRIED_TIME : POLL_TIME;
    this.stopPolling = this.clock.after(pause, () => void this.poll());
  }

  private async ask(): Promise<void> {
    const { cluster } = this;
    try {
      const view = await this.survey.view(cluster.shards, cluster.addresses);
      if (this.isClosed) return;
      this.wasKnown = true;
      this.failure = undefined;
      this.failures = 0;
      cluster.onView(view, this.clock.monotonic());
    } catch (error) {
      if (this.isClosed) return;
      this.failure = whyUnknown(error, this.wasKnown);
      cluster.onSilence(this.failure, ++this.failures);
    }
  }
}
