import type { Unavailable } from '../../lock-store.js';
import { addressText, type Address } from '../resp.js';
import type { LocatedMaster, MasterLocator } from '../master/master-locator.js';
import type { Master } from '../master/master.js';
import type { AnnouncedReplicas } from '../replication/known-replicas.js';
import type { Redirection } from '../connection/redirection.js';
import type { Release } from '../commit/release.js';
import type { SlotOwnership } from '../commit/slot-ownership.js';
import type { ClusterNode } from './cluster-nodes.js';

/** What a shard asks the Cluster. */
export interface ShardCluster {
  ownerOf(slot: number): string | undefined;
  mayGrant(slot: number): boolean;
  /** Master `by` redirected a request. */
  onRedirection(redirection: Redirection, by: string): void;
  handOver(release: Release): void;
  whyUnserved(slot: number | undefined): Unavailable | undefined;
  /** The address at which a server is reached from here. */
  reach(node: ClusterNode): Address;
  /** The slots of a master, in words. */
  rangesOf(masterId: string): string;
  /**
   * Asks the servers which master serves which slot. Resolves when a server has answered or all
   * have failed.
   */
  refresh(): Promise<void>;
}

/**
 * A master and the replicas that may take its place.
 *
 * After a fail-over the shard is the same: a replica has taken over all slots of the master. The
 * dead former master, which the Cluster then lists as a master without slots, is still one of the
 * shard's servers. A server that serves other slots, or a former replica that is a master of its own
 * now, does not belong to the shard.
 */
export class Shard implements MasterLocator, SlotOwnership {
  readonly isFixed = false;
  /** Ids of the replicas. */
  private readonly replicas = new Set<string>();
  /** Ids of the masters whose place a replica took. */
  private readonly formerMasters = new Set<string>();
  /** A view has named this shard's servers. */
  private isNamed = false;

  constructor(
    private node: ClusterNode,
    private readonly knownReplicas: AnnouncedReplicas,
    private readonly cluster: ShardCluster,
    makeMaster: (shard: Shard) => Master,
  ) {
    knownReplicas.setMaster(node.identity);
    this.master = makeMaster(this);
  }

  readonly master: Master;

  get masterId(): string {
    return this.node.id;
  }

  /** `master 10.0.0.1:6379 of slots 0-5460`: for messages. */
  get name(): string {
    return `master ${addressText(this.cluster.reach(this.node))} of slots ${this.cluster.rangesOf(this.node.id) || 'none'}`;
  }

  /**
   * Takes in one server's view of all servers. `owners` are the masters that have slots by all
   * views together.
   */
  setNodes(nodes: readonly ClusterNode[], owners: ReadonlyMap<string, number>, at: number): void {
    // A server that lost its memory, or has just joined, knows no other server. Such a view proves
    // no replica's absence.
    if (!nodes.some(({ id }) => id === this.node.id)) {
      this.noteSilence();
      return;
    }
    for (const { id, isMaster } of nodes)
      if (!isMaster || owners.has(id) || id === this.node.id) this.formerMasters.delete(id);
    const identities = new Set<string>();
    const replicas = new Set<string>();
    for (const node of nodes) {
      if (node.id === this.node.id) {
        this.isNamed = true;
        this.setMaster(node);
      } else if (!this.isOurs(node)) continue;
      else if (!node.isMaster) replicas.add(node.id);
      identities.add(node.identity);
    }
    this.replicas.clear();
    for (const id of replicas) this.replicas.add(id);
    this.knownReplicas.setAnnounced(identities, at);
    // Only the master knows which replicas are within reach.
    if (!nodes.some(({ id, isMyself }) => isMyself && id === this.node.id)) return;
    const following = nodes.filter(({ masterId, isReached }) => masterId === this.node.id && isReached);
    this.knownReplicas.identified(new Set(following.map(({ identity }) => identity)), []);
  }

  /** No server answered, which proves no replica's absence. */
  noteSilence(): void {
    this.knownReplicas.noteSilence();
  }

  /** After a fail-over: another node of this shard is the master now. */
  failOverTo(node: ClusterNode): void {
    this.formerMasters.add(this.node.id);
    this.formerMasters.delete(node.id);
    this.setMaster(node);
  }

  /** Takes the master's entry in CLUSTER NODES. Connects anew after a change of id or address. */
  private setMaster(node: ClusterNode): void {
    const { id, identity } = this.node;
    this.node = node;
    if (node.id === id && node.identity === identity) return;
    this.knownReplicas.setMaster(node.identity);
    this.master.replaced();
  }

  get whereabouts(): string {
    return addressText(this.cluster.reach(this.node));
  }

  async locate(): Promise<LocatedMaster> {
    await this.cluster.refresh();
    // Without the names of the replicas, the size of the majority is unknown.
    if (!this.isNamed) throw new Error('no node of the Redis Cluster has named its replicas yet');
    return { address: this.cluster.reach(this.node), identity: this.node.identity };
  }

  isCurrent(identity: string): boolean {
    return identity === this.node.identity;
  }

  owns(slot: number | undefined): boolean {
    return slot !== undefined && this.cluster.ownerOf(slot) === this.node.id;
  }

  mayGrant(slot: number | undefined): boolean {
    return slot !== undefined && this.cluster.mayGrant(slot);
  }

  onRedirection(redirection: Redirection): void {
    this.cluster.onRedirection(redirection, this.masterId);
  }

  handOver(release: Release): void {
    this.cluster.handOver(release);
  }

  whyUnserved(slot: number | undefined): Unavailable | undefined {
    return this.cluster.whyUnserved(slot);
  }

  private isOurs({ id, masterId, isMaster }: ClusterNode): boolean {
    if (isMaster) return this.formerMasters.has(id);
    if (masterId === undefined) return false;
    // The replica may not have heard yet which server is the new master.
    return masterId === this.node.id || (this.replicas.has(id) && this.formerMasters.has(masterId));
  }
}
