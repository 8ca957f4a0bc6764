import type { Clock } from '../../common/clock.js';
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
  RenewPurpose,
  Unavailable,
  WatchOutcome,
} from '../lock-store.js';
import type { Connector } from './connection/connection.js';
import type { Command, Reply } from './resp.js';
import { sentinelOptionsOf, translated, type ConnectionSettings } from './connection/connection-settings.js';
import { IoredisConnector } from './connection/ioredis-connector.js';
import type { Deployment, DeploymentListener } from './deployment.js';
import type { LockPart } from './lock-part.js';
import { listMaster } from './master/lock-listing.js';
import { FixedMasterLocator } from './master/master-locator.js';
import { Master } from './master/master.js';
import type { MasterListener } from './master/master-settings.js';
import { ObservedReplicas, AnnouncedReplicas } from './replication/known-replicas.js';
import type { RedisStoreOptions } from './options.js';
import { Sentinels } from './sentinel/sentinels.js';
import type { Session } from './connection/session.js';

/**
 * One master that holds all keys: at a fixed address, or at the address that the Sentinels name.
 */
export class SingleMasterDeployment implements Deployment {
  private readonly master: Master;
  private readonly sentinels: Sentinels | undefined;

  constructor(
    connection: Exclude<ConnectionSettings, { kind: 'cluster' }>,
    private readonly options: RedisStoreOptions,
    private readonly listener: DeploymentListener,
    clock: Clock,
    givenConnector?: Connector,
  ) {
    const connector = givenConnector ?? new IoredisConnector(connection.options);
    const onMaster: MasterListener = {
      onChange: (key) => listener.onChange(key === undefined ? { every: true } : { key }),
      onUnreachable: () => listener.onChange({ every: true, isUnreachable: true }),
      onReport: (level, code, message) => listener.onReport(level, code, message),
    };
    if (connection.kind === 'plain') {
      const locator = new FixedMasterLocator(connection.address);
      this.master = new Master(connector, locator, new ObservedReplicas(), options, onMaster, clock);
      return;
    }
    const replicas = new AnnouncedReplicas();
    this.sentinels = new Sentinels(
      connection.sentinels,
      connection.name,
      givenConnector ?? new IoredisConnector(sentinelOptionsOf(connection.options)),
      replicas,
      (address) => translated(address, connection.options.natMap),
      clock,
      () => this.master.replaced(),
    );
    this.master = new Master(connector, this.sentinels, replicas, options, onMaster, clock);
  }

  acquire(request: AcquireRequest): Attempt {
    // Only a master of a Cluster answers `route-again`.
    return this.master.acquire(request, this.wholeOf(request)) as Attempt;
  }

  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose): Renewal {
    return this.master.renew(lock, this.wholeOf(lock), leaseTime, purpose) as Renewal;
  }

  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome> {
    return this.master.release(lock, this.wholeOf(lock), cooldown);
  }

  watch(lock: OwnedKeys): Promise<WatchOutcome> {
    return this.master.watch(lock, this.wholeOf(lock));
  }

  ask(_key: string, commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable> {
    return this.master.ask(commandsFor) as Promise<Reply[] | Unavailable>;
  }

  list(request: ListRequest): Promise<ListOutcome> {
    return listMaster(this.master, this.options.keyPrefix, request) as Promise<ListOutcome>;
  }

  get hearsChanges(): boolean {
    return this.master.hearsChanges;
  }

  health(): readonly MasterHealth[] {
    return [this.master.health()];
  }

  open(): void {
    const { replicas, allowNoReplicas } = this.options;
    if (this.sentinels === undefined && replicas === 'all' && !allowNoReplicas)
      this.listener.onReport('log', 'observed-replicas', OBSERVED);
    this.sentinels?.open();
    this.master.open();
  }

  async close(): Promise<void> {
    await this.master.close();
    this.sentinels?.close();
  }

  /** The master serves all keys of the lock. */
  private wholeOf({ keys }: OwnedKeys): LockPart {
    return { names: keys, keys: keys.map((key) => this.options.keyPrefix + key), slot: undefined };
  }
}

const OBSERVED =
  "On a plain connection replicas: 'all' counts the replicas that this process has seen connected, so one that starts after a crash " +
  'may know fewer. Set replicas to their number (for example replicas: 2), or connect through Sentinel.';
