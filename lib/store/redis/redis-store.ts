import { Subject } from 'rxjs';
import { systemClock, type Clock } from '../../common/clock.js';
import {
  tombstoneTimeOf,
  type AcquireRequest,
  type Attempt,
  type ForceReleaseOutcome,
  type HeldKeys,
  type InspectOutcome,
  type KeyChange,
  type ListOutcome,
  type ListRequest,
  type LockStore,
  type OwnedKeys,
  type ReleaseOutcome,
  type Renewal,
  type RenewPurpose,
  type StoreHealth,
  type StoreReport,
  type WatchOutcome,
} from '../lock-store.js';
import type { Connector } from './connection/connection.js';
import { ErrorReply } from './resp.js';
import { ClusterDeployment } from './cluster/cluster-deployment.js';
import { connectionSettingsOf } from './connection/connection-settings.js';
import type { Deployment, DeploymentListener } from './deployment.js';
import type { RedisStoreOptions } from './options.js';
import { FORCE_RELEASE } from './scripts/force-release.js';
import { holdersOf, serverTimeOf } from './scripts/permits.js';
import { parseValue } from './scripts/value.js';
import { SingleMasterDeployment } from './single-master-deployment.js';

/** Locks on Redis masters. A lock counts only when the replicas have confirmed the write. */
export class RedisStore implements LockStore {
  private readonly deployment: Deployment;
  private isOpen = false;
  private readonly changed = new Subject<KeyChange>();
  private readonly reported = new Subject<StoreReport>();
  readonly changes = this.changed.asObservable();
  readonly reports = this.reported.asObservable();

  constructor(
    private readonly options: RedisStoreOptions,
    clock: Clock = systemClock,
    /** Makes the connections. The simulation passes simulated connections. */
    connector?: Connector,
  ) {
    const listener: DeploymentListener = {
      onChange: (change) => this.changed.next(change),
      onReport: (level, code, message) => this.reported.next({ level, code, message }),
    };
    const connection = connectionSettingsOf(options.connection);
    this.deployment =
      connection.kind === 'cluster'
        ? new ClusterDeployment(connection, options, listener, clock, connector)
        : new SingleMasterDeployment(connection, options, listener, clock, connector);
  }

  open(): void {
    if (this.isOpen) return;
    this.isOpen = true;
    this.deployment.open();
  }

  acquire(request: AcquireRequest): Attempt {
    return this.deployment.acquire(request);
  }

  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose = 'hold'): Renewal {
    return this.deployment.renew(lock, leaseTime, purpose);
  }

  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome> {
    return this.deployment.release(lock, cooldown);
  }

  watch(lock: OwnedKeys): Promise<WatchOutcome> {
    return this.deployment.watch(lock);
  }

  async inspect(key: string): Promise<InspectOutcome> {
    const redisKey = this.options.keyPrefix + key;
    const replies = await this.deployment.ask(key, () => [
      ['get', redisKey],
      ['pttl', redisKey],
    ]);
    if (!Array.isArray(replies)) return replies;
    const [value, pttl] = replies;
    if (value instanceof ErrorReply) return this.inspectShared(key, redisKey);
    const found = parseValue(value as string | null, pttl as number);
    if (found.kind === 'held') return { ...found, holders: [found.holder] };
    return found.kind === 'foreign' ? { ...found, key } : found;
  }

  /** The key holds no string: locks with a limit above 1 may hold the key. */
  private async inspectShared(key: string, redisKey: string): Promise<InspectOutcome> {
    const replies = await this.deployment.ask(key, () => [['time'], ['hgetall', redisKey]]);
    if (!Array.isArray(replies)) return replies;
    const [time, fields] = replies;
    if (!Array.isArray(fields) || !Array.isArray(time)) return notAString(key);
    // The key may have expired between the two questions.
    const holders = fields.length === 0 ? [] : holdersOf(fields as string[], serverTimeOf(time));
    if (holders === undefined) return notAString(key);
    const [holder] = holders;
    return holder === undefined ? { kind: 'free' } : { kind: 'held', holder, holders };
  }

  list(request: ListRequest): Promise<ListOutcome> {
    return this.deployment.list(request);
  }

  async forceRelease(key: string, owner = ''): Promise<ForceReleaseOutcome> {
    const tombstone = tombstoneTimeOf(this.options.clockSkew);
    // Sends the text of the script instead of the hash: a server that has lost all scripts needs no
    // second request.
    const replies = await this.deployment.ask(key, () => [
      FORCE_RELEASE.command([this.options.keyPrefix + key], [tombstone, owner], false),
    ]);
    if (!Array.isArray(replies)) return replies;
    const [reply] = replies;
    if (typeof reply === 'number') return { kind: 'done', wasHeld: reply === 1 };
    if (reply instanceof ErrorReply) return notAString(key);
    const found = parseValue(reply as string, 0);
    return { kind: 'foreign', key, found: found.kind === 'foreign' ? found.found : String(reply) };
  }

  get hearsChanges(): boolean {
    return this.deployment.hearsChanges;
  }

  health(): StoreHealth {
    const masters = this.deployment.health();
    const isUp = masters.every((master) => master.connected && master.reason === undefined);
    const isDown = masters.every((master) => !master.connected);
    return { status: isDown ? 'down' : isUp ? 'up' : 'degraded', masters };
  }

  async close(): Promise<void> {
    await this.deployment.close();
    this.changed.complete();
    this.reported.complete();
  }
}

function notAString(key: string): { kind: 'foreign'; key: string; found: string } {
  return { kind: 'foreign', key, found: 'a value that is no string' };
}
