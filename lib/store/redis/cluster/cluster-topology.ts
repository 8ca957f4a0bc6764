import type { Clock } from '../../../common/clock.js';
import { Waiters } from '../../../common/waiters.js';
import { STORE_CLOSED, type MasterHealth, type Unavailable } from '../../lock-store.js';
import type { Connector } from '../connection/connection.js';
import { addressText, type Address } from '../resp.js';
import { translated, type ClusterSettings } from '../connection/connection-settings.js';
import type { DeploymentListener } from '../deployment.js';
import { Master } from '../master/master.js';
import { AnnouncedReplicas } from '../replication/known-replicas.js';
import type { RedisStoreOptions } from '../options.js';
import { FAILURES_TO_REPORT } from '../pauses.js';
import type { Redirection } from '../connection/redirection.js';
import type { Release } from '../commit/release.js';
import { ReleaseOutbox } from '../commit/release-outbox.js';
import { ClusterPoller, type PolledCluster } from './cluster-poller.js';
import type { ClusterNode, ClusterView } from './cluster-nodes.js';
import { hashSlot, SLOTS } from './hash-slot.js';
import { LossCheck, type CheckedCluster } from './loss-check.js';
import { Shard, type ShardCluster } from './shard.js';
import { SlotTable } from './slot-table.js';
import { SlotTrust } from './slot-trust.js';

/**
 * Which master serves which slot, and one `Master` for each shard that has slots. After a fail-over
 * the shard keeps its `Master`, which connects to the new server. `ClusterPoller` decides when the
 * servers are asked.
 */
export class ClusterTopology implements PolledCluster, ShardCluster, CheckedCluster {
  readonly table = new SlotTable((before, after) => this.nodes.get(after)?.masterId === before);
  private readonly poller: ClusterPoller;
  readonly trust: SlotTrust;
  readonly lossCheck: LossCheck;
  shards: readonly Shard[] = [];
  private byMaster = new Map<string, Shard>();
  /** Shards whose slots have all gone, and whose requests are still under way. */
  private emptied: Shard[] = [];
  /** Every server, as described last. */
  private nodes = new Map<string, ClusterNode>();
  /** By id: the address under which each server was named last, and when. */
  private readonly lastNamed = new Map<string, { readonly address: string; readonly at: number }>();
  /** Clients must reach the servers by their host names. */
  private prefersHostnames = false;
  private readonly waiters: Waiters;
  /** The releases whose slot has no master wait here for one. */
  private readonly unserved: ReleaseOutbox;

  constructor(
    private readonly connection: ClusterSettings,
    private readonly connector: Connector,
    private readonly options: RedisStoreOptions,
    private readonly listener: DeploymentListener,
    private readonly clock: Clock,
  ) {
    this.poller = new ClusterPoller(this, connector, clock);
    this.waiters = new Waiters(clock);
    this.unserved = new ReleaseOutbox(clock, options, {
      owns: (slot) => this.shardOf(slot) === undefined,
      handOver: (release) => this.handOver(release),
      whyUnserved: (slot) => this.whyUnserved(slot),
      // Never called: only a session brings redirections.
      onRedirection: () => {},
    });
    this.trust = new SlotTrust(this.table, options.quarantine);
    this.lossCheck = new LossCheck(this, connector, options, clock, () => this.waiters.notify());
  }

  open(): void {
    this.poller.open();
  }

  async close(): Promise<void> {
    this.poller.close();
    this.lossCheck.close();
    this.unserved.close(STORE_CLOSED);
    this.waiters.notify();
    await Promise.all([...this.shards, ...this.emptied].map(({ master }) => master.close()));
  }

  // --- for the deployment and the routing

  shardOf(slot: number | undefined): Shard | undefined {
    const owner = slot === undefined ? undefined : this.table.ownerOf(slot);
    return owner === undefined ? undefined : this.byMaster.get(owner);
  }

  /** Why the slot has no shard, if it has none. */
  noMasterOf(slot: number | undefined): Unavailable {
    if (this.isClosed) return STORE_CLOSED;
    if (this.poller.failure !== undefined) return this.poller.failure;
    const uncovered = SLOTS - [...this.table.owners().values()].reduce((sum, count) => sum + count, 0);
    return {
      kind: 'unavailable',
      reason:
        `no master of the Redis Cluster serves its slot ${slot} (${uncovered} of ${SLOTS} slots have no master): assign them, for example with ` +
        'redis-cli --cluster fix. Locks in other slots go on if cluster-require-full-coverage is no.',
    };
  }

  /** Resolves at the next poll or the end of the next loss check, after `ms` at the latest. */
  async nextView(ms: number): Promise<void> {
    await this.waiters.next(ms);
  }

  get isClosed(): boolean {
    return this.poller.isClosed;
  }

  get hearsChanges(): boolean {
    return this.shards.length > 0 && this.shards.every(({ master }) => master.hearsChanges);
  }

  health(): readonly MasterHealth[] {
    if (this.shards.length > 0) return this.shards.map((shard) => this.healthOf(shard));
    const address = this.connection.seeds.map(addressText).join(', ');
    const { reason } = this.noMasterOf(0);
    return [
      {
        address,
        connected: false,
        reason,
        replicas: [],
        quarantine: 0,
        tracking: false,
        commits: { requests: 0, groups: 0 },
      },
    ];
  }

  private healthOf({ master, masterId }: Shard): MasterHealth {
    const health = master.health();
    const doubt = this.lossCheck.doubtOf(masterId);
    if (health.reason !== undefined || doubt === undefined) return health;
    return { ...health, reason: `New locks in slots that came to this master lately wait: ${doubt}.` };
  }

  // --- for the shards

  ownerOf(slot: number): string | undefined {
    return this.table.ownerOf(slot);
  }

  mayGrant(slot: number): boolean {
    return this.trust.timeUntilTrusted(slot, this.clock.monotonic()) === 0;
  }

  shardLedBy(masterId: string): Shard | undefined {
    return this.byMaster.get(masterId) ?? this.emptied.find((shard) => shard.masterId === masterId);
  }

  namedSince(instant: number): ReadonlyMap<string, string> {
    for (const [id, { at }] of this.lastNamed) if (at < instant) this.lastNamed.delete(id);
    return new Map([...this.lastNamed].map(([id, { address }]) => [id, address]));
  }

  rangesOf(masterId: string): string {
    return this.table.rangesOf(masterId);
  }

  reach({ identity, hostname }: ClusterNode): Address {
    const { natMap, options } = this.connection;
    const alias = hostname === undefined ? undefined : hostname + identity.slice(identity.lastIndexOf(':'));
    const address = translated(identity, natMap, alias);
    const isMapped = addressText(address) !== addressText(translated(identity, undefined));
    // A certificate is issued for the host name, not for the address. And the address may not be
    // reachable from here.
    return hostname !== undefined && !isMapped && (options.tls != null || this.prefersHostnames)
      ? { host: hostname, port: address.port }
      : address;
  }

  onRedirection(redirection: Redirection, by: string): void {
    if (!this.poller.isOpen) return;
    const now = this.clock.monotonic();
    if (redirection.kind !== 'moved') {
      if (redirection.kind === 'ask') this.table.noteMigrating(redirection.slot, now);
      this.poller.hurry();
      return;
    }
    const { slot, to } = redirection;
    void this.refresh();
    const node = [...this.nodes.values()].find((each) => answersTo(each, to));
    const owner = this.table.ownerOf(slot);
    // Only the known owner of the slot can say where the slot went. If the target is a replica of
    // the owner, either the replica took the master's place with all slots, or the replica is a
    // master of its own now. The next view tells which.
    if (node === undefined || owner !== by || node.id === owner || node.masterId === owner) return;
    this.table.noteMoved(slot, node.id, now);
    this.follow(new Set([slot]), this.nodes);
  }

  /** Where the releases of the slot go: its master, or the outbox of the slots without a master. */
  releasesOf(slot: number | undefined): Master | ReleaseOutbox {
    return this.shardOf(slot)?.master ?? this.unserved;
  }

  handOver(release: Release): void {
    this.releasesOf(release.slot).takeOver(release);
  }

  whyUnserved(slot: number | undefined): Unavailable | undefined {
    return this.shardOf(slot) === undefined ? this.noMasterOf(slot) : undefined;
  }

  refresh(): Promise<void> {
    return this.poller.refresh();
  }

  // --- for the poller

  /** Addresses at which a server can be asked which master serves which slot. */
  get addresses(): Address[] {
    const known = [...this.nodes.values()].filter((node) => !node.isFailed).map((node) => this.reach(node));
    const all = [...known, ...this.connection.seeds].map(
      (address) => [addressText(address), address] as const,
    );
    return [...new Map(all).values()];
  }

  onView(view: ClusterView, at: number): void {
    this.takeIn(view, at);
    this.waiters.notify();
  }

  onSilence({ reason }: Unavailable, times: number): void {
    for (const shard of this.shards) shard.noteSilence();
    if (times === FAILURES_TO_REPORT)
      this.listener.onReport('error', 'unreachable', `${reason} Locks are refused until that is mended.`);
    this.waiters.notify();
  }

  // --- taking in a view

  private takeIn(view: ClusterView, at: number): void {
    // `takeIn` of the table calls back (see `table`) and reads `this.nodes`, so the nodes are
    // replaced afterwards.
    const changed = this.table.takeIn(view, at);
    const before = this.nodes;
    this.prefersHostnames = view.prefersHostnames === true;
    this.nodes = new Map(view.nodes.map((node) => [node.id, node]));
    for (const { id, identity } of view.nodes) this.lastNamed.set(id, { address: identity, at });
    for (const owner of this.table.owners().keys()) {
      const node = this.nodes.get(owner) ?? before.get(owner);
      if (node !== undefined) this.nodes.set(owner, node);
    }
    this.follow(changed, before);
    const owners = this.table.owners();
    for (const shard of this.shards) shard.setNodes(view.nodes, owners, at);
    this.closeIdle();
  }

  /**
   * Brings the shards, queued requests and releases to where the slots are now. `before` are the
   * servers of the previous view.
   */
  private follow(changed: ReadonlySet<number>, before: ReadonlyMap<string, ClusterNode>): void {
    this.leadShards(before);
    this.unserved.onSlotsMoved();
    if (changed.size > 0) {
      for (const { master } of [...this.shards, ...this.emptied]) master.onSlotsMoved();
      // Notices of these keys went to the former master, and a key that moved must be confirmed on
      // the new shard.
      const { keyPrefix } = this.options;
      this.listener.onChange({ where: (key) => changed.has(hashSlot(keyPrefix + key)) });
    }
    this.lossCheck.soon();
  }

  /**
   * Gives every master with slots a shard: a new shard, or the shard of the former master if a
   * replica has replaced that master.
   */
  private leadShards(before: ReadonlyMap<string, ClusterNode>): void {
    const owners = this.table.owners();
    for (const owner of [...owners.keys()].toSorted((a, b) => owners.get(b)! - owners.get(a)!)) {
      const node = this.nodes.get(owner);
      if (node === undefined || this.shards.some((shard) => shard.masterId === owner)) continue;
      const former = before.get(owner)?.masterId;
      const shard = this.shards.find(({ masterId }) => masterId === former && !owners.has(masterId));
      if (shard === undefined) this.shards = [...this.shards, this.makeShard(node)];
      else shard.failOverTo(node);
    }
    this.emptied.push(...this.shards.filter(({ masterId }) => !owners.has(masterId)));
    this.shards = this.shards.filter(({ masterId }) => owners.has(masterId));
    this.byMaster = new Map(this.shards.map((shard) => [shard.masterId, shard]));
  }

  private makeShard(node: ClusterNode): Shard {
    const replicas = new AnnouncedReplicas();
    const shard = new Shard(node, replicas, this, (made) => {
      const { keyPrefix } = this.options;
      const where = (key: string): boolean => made.owns(hashSlot(keyPrefix + key));
      return new Master(
        this.connector,
        made,
        replicas,
        this.options,
        {
          onChange: (key) => {
            // The master may just have been connected, and can be asked now.
            if (key === undefined) this.lossCheck.soon();
            this.listener.onChange(key === undefined ? { where } : { key });
          },
          onUnreachable: () => this.listener.onChange({ where, isUnreachable: true }),
          onReport: (level, code, message) => this.listener.onReport(level, code, message),
        },
        this.clock,
        made,
      );
    });
    shard.master.open();
    return shard;
  }

  /** Closes shards without slots when no loss check needs them any more. */
  private closeIdle(): void {
    if (this.lossCheck.isPending) return;
    const idle = this.emptied.filter(({ master }) => master.isIdle);
    this.emptied = this.emptied.filter((shard) => !idle.includes(shard));
    for (const { master } of idle) void master.close();
  }
}

/** Whether `address`, which a redirection named, belongs to the node. */
function answersTo({ identity, hostname }: ClusterNode, address: string): boolean {
  const port = identity.slice(identity.lastIndexOf(':'));
  return identity === address || (hostname !== undefined && address === hostname + port);
}
