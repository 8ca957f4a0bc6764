import type { Clock } from '../../../common/clock.js';
import type {
  AcquireRequest,
  Attempt,
  HeldKeys,
  ListOutcome,
  ListRequest,
  MasterHealth,
  OwnedKeys,
  ReleaseOutcome,
  Renewal,
  RenewOutcome,
  RenewPurpose,
  Unavailable,
  WatchOutcome,
} from '../../lock-store.js';
import type { Connector } from '../connection/connection.js';
import type { Command, Reply } from '../resp.js';
import type { ClusterSettings } from '../connection/connection-settings.js';
import { IoredisConnector } from '../connection/ioredis-connector.js';
import type { Deployment, DeploymentListener } from '../deployment.js';
import type { RedisStoreOptions } from '../options.js';
import type { Session } from '../connection/session.js';
import { ClusterAttempt } from './cluster-attempt.js';
import { listCluster } from './cluster-listing.js';
import { ClusterTopology } from './cluster-topology.js';
import { hashSlot } from './hash-slot.js';
import { Routing } from './routing.js';
import { partsOf, type SlotPart } from './keys-by-slot.js';

/**
 * Keys divided over the masters of a Redis Cluster. One master holds all keys of a slot, and a lock
 * on keys of several slots has one part per slot.
 */
export class ClusterDeployment implements Deployment {
  private readonly topology: ClusterTopology;
  private readonly routing: Routing;

  constructor(
    connection: ClusterSettings,
    private readonly options: RedisStoreOptions,
    listener: DeploymentListener,
    private readonly clock: Clock,
    givenConnector?: Connector,
  ) {
    const connector = givenConnector ?? new IoredisConnector(connection.options);
    this.topology = new ClusterTopology(connection, connector, options, listener, clock);
    this.routing = new Routing(this.topology, options, clock);
  }

  acquire(request: AcquireRequest): Attempt {
    const attempt = new ClusterAttempt(request, this.partsOf(request), this.routing, this.clock);
    return { outcome: attempt.outcome, abandon: () => attempt.abandon() };
  }

  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose): Renewal {
    const renewals = this.partsOf(lock).map((part) => this.routing.renew(lock, part, leaseTime, purpose));
    return {
      outcome: Promise.all(renewals.map(({ outcome }) => outcome)).then((outcomes) =>
        outcomes.reduce((one, other) => this.worse(one, other)),
      ),
      whyNot: () => renewals.map((renewal) => renewal.whyNot()).find((why) => why !== undefined),
    };
  }

  async release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome> {
    const outcomes = await Promise.all(
      this.partsOf(lock).map((part) => this.routing.release(lock, part, cooldown)),
    );
    return (
      outcomes.find(({ kind }) => kind === 'unavailable') ?? {
        kind: 'released',
        ours: outcomes.every((outcome) => outcome.kind === 'released' && outcome.ours),
      }
    );
  }

  async watch(lock: OwnedKeys): Promise<WatchOutcome> {
    const outcomes = await Promise.all(this.partsOf(lock).map((part) => this.routing.watch(lock, part)));
    const of = (kind: WatchOutcome['kind']): WatchOutcome | undefined =>
      outcomes.find((outcome) => outcome.kind === kind);
    return of('gone') ?? of('unknown') ?? { kind: 'held' };
  }

  ask(key: string, commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable> {
    return this.routing.ask(hashSlot(this.options.keyPrefix + key), commandsFor);
  }

  list(request: ListRequest): Promise<ListOutcome> {
    return listCluster(this.topology, this.routing, this.options, this.clock, request);
  }

  get hearsChanges(): boolean {
    return this.topology.hearsChanges;
  }

  health(): readonly MasterHealth[] {
    return this.topology.health();
  }

  open(): void {
    this.topology.open();
  }

  close(): Promise<void> {
    return this.topology.close();
  }

  private partsOf({ keys }: OwnedKeys): SlotPart[] {
    return partsOf(keys, this.options.keyPrefix);
  }

  /**
   * The outcome for the whole lock is the worst outcome of the parts: gone, else expired, else
   * renewed until the first part ends.
   */
  private worse(one: RenewOutcome, other: RenewOutcome): RenewOutcome {
    if (one.kind === 'renewed' && other.kind === 'renewed') {
      const isShorter = one.validity.remaining(this.clock) <= other.validity.remaining(this.clock);
      const { validity } = isShorter ? one : other;
      return { kind: 'renewed', validity, confirmedBy: Math.min(one.confirmedBy, other.confirmedBy) };
    }
    if (one.kind === 'gone' || other.kind === 'renewed') return one;
    return other.kind === 'gone' || one.kind === 'renewed' ? other : one;
  }
}
