import type { Clock } from '../../../common/clock.js';
import { connecting } from '../connection/connecting.js';
import { ANSWER_TIME } from '../pauses.js';
import { ask, type Connector } from '../connection/connection.js';
import type { Address, Command, Reply } from '../resp.js';
import { ListedLinkAges } from '../replication/link-ages.js';
import { AnnouncedReplicas } from '../replication/known-replicas.js';
import { parseReplicationInfo } from '../replication/replication-info.js';
import { ReplicaView } from '../replication/replica-view.js';
import { parseClusterNodes, type ClusterNode, type ClusterView } from './cluster-nodes.js';
import { mayHaveLost, type MasterEvidence } from './loss-evidence.js';
import type { Shard } from './shard.js';
import {
  MIGRATION_COMMANDS,
  parseSlotMigrations,
  unprovenSlots,
  type SlotMigration,
} from './slot-migrations.js';
import type { SlotTable } from './slot-table.js';
import { doubtTimeOf } from './slot-trust.js';

/** ms between the starts of two checks. */
const PAUSE = 100;

/** What the check needs to know about the Cluster. */
export interface CheckedCluster {
  readonly table: SlotTable;
  /** The shard whose master this server is or was; undefined if this process has none. */
  shardLedBy(masterId: string): Shard | undefined;
  /** All servers that any view has named since the monotonic instant: addresses by id. */
  namedSince(instant: number): ReadonlyMap<string, string>;
  reach(node: ClusterNode): Address;
}

/** What one master answered. */
interface MasterAnswer {
  readonly evidence: MasterEvidence;
  /** Undefined if the user may not ask. */
  readonly migrations: readonly SlotMigration[] | undefined;
}

/**
 * Asks all masters of the Cluster whether they may have lost data. The ages of their links also
 * speak for their replicas. Runs as long as there are slots that are not trusted for that reason:
 * see `slot-trust.ts`.
 */
export class LossCheck {
  private readonly doubtTime: number;
  /**
   * By master: the start of the last check that asked about the master's slots, and the doubt that
   * the check left.
   */
  private readonly results = new Map<
    string,
    { readonly startedAt: number; readonly doubt: string | undefined }
  >();
  private state: 'idle' | 'pausing' | 'running' | 'closed' = 'idle';
  private startedAt = -Infinity;
  private isWanted = false;
  private stopTimer: () => void = () => {};
  /** Aborts the questions that are asked over connections of their own. */
  private asking = new AbortController();

  constructor(
    private readonly cluster: CheckedCluster,
    private readonly connector: Connector,
    private readonly settings: { readonly quarantine: number; readonly allowNoReplicas: boolean },
    private readonly clock: Clock,
    /** Called after each check. */
    private readonly onDone: () => void,
  ) {
    this.doubtTime = doubtTimeOf(settings.quarantine);
  }

  /**
   * Starts a check soon: slots may have come to a master, or servers may be able to show more than
   * before.
   */
  soon(): void {
    if (this.settings.quarantine === 0 || this.state === 'closed') return;
    this.isWanted = true;
    if (this.state !== 'idle') return;
    const now = this.clock.monotonic();
    this.state = 'pausing';
    this.stopTimer = this.clock.after(Math.max(0, this.startedAt + PAUSE - now), () => void this.run());
  }

  close(): void {
    this.state = 'closed';
    this.stopTimer();
    this.asking.abort(new Error('closed'));
  }

  /**
   * Whether a check that started at the monotonic instant or later has asked about this master, and
   * ended.
   */
  hasAsked(owner: string, instant: number): boolean {
    return (this.results.get(owner)?.startedAt ?? -Infinity) >= instant;
  }

  /** Why slots of this master are not trusted, as far as known; undefined if all are. */
  doubtOf(owner: string): string | undefined {
    return this.unprovenOwners().has(owner) ? this.results.get(owner)?.doubt : undefined;
  }

  /** Some slots are not trusted until a check has shown that nothing was lost. */
  get isPending(): boolean {
    return this.unprovenOwners().size > 0;
  }

  private unprovenOwners(): Set<string> {
    if (this.settings.quarantine === 0) return new Set();
    return this.cluster.table.unprovenOwners(this.clock.monotonic() - this.doubtTime);
  }

  private async run(): Promise<void> {
    this.isWanted = false;
    this.state = 'running';
    this.startedAt = this.clock.monotonic();
    const owners = this.unprovenOwners();
    if (owners.size > 0) await this.check([...owners], this.startedAt);
    if (this.isClosed) return;
    this.state = 'idle';
    this.onDone();
    if (this.isWanted) this.soon();
  }

  private get isClosed(): boolean {
    return this.state === 'closed';
  }

  private async check(owners: readonly string[], startedAt: number): Promise<void> {
    const { cluster, doubtTime } = this;
    const { allowNoReplicas } = this.settings;
    const views = await Promise.all(owners.map((owner) => this.viewOf(owner)));
    const masters = new Map(
      views
        .flatMap((view) => (view?.nodes ?? []).filter(({ isMaster }) => isMaster))
        .map((node) => [node.id, node]),
    );
    const answers = await this.askMasters([...masters.values()].filter(({ isFailed }) => !isFailed));
    if (this.isClosed) return;
    const evidence = new Map([...answers].map(([id, answer]) => [id, answer.evidence]));
    const forbidding = [...answers].find(([, { migrations }]) => migrations === undefined);
    const unproven = unprovenSlots(
      [...answers.values()].flatMap(({ migrations }) => migrations ?? []),
      doubtTime,
    );
    const known = cluster.namedSince(startedAt - doubtTime);
    for (const [index, owner] of owners.entries()) {
      const view = views[index];
      const doubt =
        view === undefined
          ? 'its master does not say which servers the Cluster has'
          : (mayHaveLost(view.nodes, known, evidence, { doubtTime, allowNoReplicas }) ??
            (forbidding &&
              `${masters.get(forbidding[0])?.identity} does not let this user ask how it got its slots (give the user ${ACL_RULE})`));
      if (doubt === undefined) cluster.table.noteIntact(owner, startedAt, unproven);
      this.results.set(owner, { startedAt, doubt: doubt ?? (unproven.length > 0 ? UNPROVEN : undefined) });
      // The master that gave the slots away learns of the success a moment after the target has the
      // slots.
      this.isWanted ||= doubt === undefined && unproven.length > 0;
    }
  }

  /** All servers, as the master itself describes them. */
  private async viewOf(owner: string): Promise<ClusterView | undefined> {
    const replies = await this.cluster.shardLedBy(owner)?.master.ask(() => [['cluster', 'nodes']]);
    if (!Array.isArray(replies)) return undefined;
    const view = parseClusterNodes(replies[0], NOWHERE);
    const isSure =
      view?.author === owner && view.nodes.some(({ isMyself, isMaster }) => isMyself && isMaster);
    return isSure ? view : undefined;
  }

  /**
   * The answers by id of the master. Masters that do not answer in time, or are replicas now, have
   * none.
   */
  private async askMasters(masters: readonly ClusterNode[]): Promise<Map<string, MasterAnswer>> {
    const answers = new Map<string, MasterAnswer>();
    const asking = new AbortController();
    const { signal } = asking;
    this.asking = asking;
    const stopTimer = this.clock.after(ANSWER_TIME, () => asking.abort(new Error('no answer in time')));
    await Promise.all(
      masters.map(async (node) => {
        const shard = this.cluster.shardLedBy(node.id);
        const answer = await (shard === undefined ? this.askOnce(node, signal) : this.askShard(shard));
        if (answer !== undefined) answers.set(node.id, answer);
      }),
    );
    stopTimer();
    return answers;
  }

  private async askShard({ master }: Shard): Promise<MasterAnswer | undefined> {
    const view = await master.pollNow();
    const answer = view && (await master.askNow(MIGRATION_COMMANDS).catch(() => undefined));
    return answer && answerOf(view, answer.replies, this.clock.monotonic());
  }

  /** Asks a master for which this process has no shard, over a new connection. */
  private async askOnce(node: ClusterNode, signal: AbortSignal): Promise<MasterAnswer | undefined> {
    const links = new ListedLinkAges();
    const address = this.cluster.reach(node);
    const commands: Command[] = [['info', 'replication'], links.command, ...MIGRATION_COMMANDS];
    const replies = await connecting(this.connector, address, this.clock, signal, async (connect) => {
      const connection = await connect('topology');
      const answers = await ask(connection, commands);
      connection.close();
      return answers;
    }).catch(() => []);
    const info = parseReplicationInfo(replies[0]);
    if (info?.role !== 'master') return undefined;
    const now = this.clock.monotonic();
    const view = new ReplicaView(new AnnouncedReplicas(), links, this.settings.quarantine);
    view.observe(info, replies[1], now);
    return answerOf(view, replies.slice(2), now);
  }
}

function answerOf(view: ReplicaView, migrations: readonly (Reply | undefined)[], now: number): MasterAnswer {
  return { evidence: view.linkEvidence(now), migrations: parseSlotMigrations(migrations) };
}

const NOWHERE: Address = { host: '', port: 0 };
const ACL_RULE = '+cluster|getslotmigrations';
const UNPROVEN =
  'slots came by an atomic migration, and the master that gave the slots away does not report success';
