import type { Clock } from '../clock.js';
import type {
  AcquireRequest,
  Attempt,
  HeldKeys,
  MasterHealth,
  OwnedKeys,
  ReleaseOutcome,
  RenewOutcome,
  RenewPurpose,
  Unavailable,
  WatchOutcome,
} from '../lock-store.js';
import type { Command, Connector, Reply } from './connection.js';
import { sentinelOptionsOf, translated, type Deployment } from './deployment.js';
import { IoredisConnector } from './ioredis-connector.js';
import type { Keyspace, KeyspaceListener } from './keyspace.js';
import { FixedLocator } from './locator.js';
import { Master, type MasterListener } from './master.js';
import { MembersBySight, NamedMembers } from './members.js';
import type { RedisStoreOptions } from './options.js';
import { Sentinels } from './sentinels.js';
import type { Session } from './session.js';

/** One master that holds all keys: at a fixed address, or wherever the Sentinels say. */
export class SingleMaster implements Keyspace {
  private readonly master: Master;
  private readonly sentinels: Sentinels | undefined;

  constructor(
    deployment: Exclude<Deployment, { kind: 'cluster' }>,
    private readonly options: RedisStoreOptions,
    private readonly listener: KeyspaceListener,
    clock: Clock,
    givenConnector?: Connector,
  ) {
    const connector = givenConnector ?? new IoredisConnector(deployment.options);
    const onMaster: MasterListener = {
      onChange: (key) => listener.onChange(key === undefined ? { every: true } : { key }),
      onLost: () => listener.onChange({ every: true, isLost: true }),
      onReport: (level, code, message) => listener.onReport(level, code, message),
    };
    if (deployment.kind === 'plain') {
      const locator = new FixedLocator(deployment.address);
      this.master = new Master(connector, locator, new MembersBySight(), options, onMaster, clock);
      return;
    }
    const members = new NamedMembers();
    this.sentinels = new Sentinels(
      deployment.sentinels,
      deployment.name,
      givenConnector ?? new IoredisConnector(sentinelOptionsOf(deployment.options)),
      members,
      (address) => translated(address, deployment.options.natMap),
      clock,
      () => this.master.moved(),
    );
    this.master = new Master(connector, this.sentinels, members, options, onMaster, clock);
  }

  acquire(request: AcquireRequest): Attempt {
    // A master without a route sends nobody away.
    return this.master.acquire(request) as Attempt;
  }

  renew(
    { keys, owner, validity }: HeldKeys,
    leaseTime: number,
    purpose: RenewPurpose,
  ): Promise<RenewOutcome> {
    return this.master.renew(keys, owner, leaseTime, validity, purpose) as Promise<RenewOutcome>;
  }

  release({ keys, owner, token, leaseTime }: HeldKeys, keepFor: number): Promise<ReleaseOutcome> {
    return this.master.release({ keys, owner, token, keepFor }, leaseTime);
  }

  watch({ keys, owner }: OwnedKeys): Promise<WatchOutcome> {
    return this.master.watch(keys, owner);
  }

  ask(_key: string, commandsFor: (session: Session) => Command[]): Promise<Reply[] | Unavailable> {
    return this.master.ask(commandsFor) as Promise<Reply[] | Unavailable>;
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
      this.listener.onReport('log', 'members-by-sight', BY_SIGHT);
    this.sentinels?.open();
    this.master.open();
  }

  async close(): Promise<void> {
    await this.master.close();
    this.sentinels?.close();
  }
}

const BY_SIGHT =
  "On a plain connection replicas: 'all' counts the replicas that this process has seen connected, so one that starts after a crash " +
  'may know fewer. Set replicas to their number (for example replicas: 2), or connect through Sentinel.';
