import { Subject } from 'rxjs';
import { systemClock, type Clock } from '../clock.js';
import type {
  AcquireRequest,
  Attempt,
  ForceReleaseOutcome,
  HeldKeys,
  InspectOutcome,
  KeyChange,
  LockStore,
  OwnedKeys,
  ReleaseOutcome,
  RenewOutcome,
  RenewPurpose,
  StoreHealth,
  StoreReport,
  WatchOutcome,
} from '../lock-store.js';
import { ErrorReply, type Connector } from './connection.js';
import { ClusterKeyspace } from './cluster/cluster-keyspace.js';
import { deploymentOf } from './deployment.js';
import type { Keyspace, KeyspaceListener } from './keyspace.js';
import type { RedisStoreOptions } from './options.js';
import { FORCE_RELEASE } from './scripts/force-release.js';
import { parseValue } from './scripts/value.js';
import { SingleMaster } from './single-master.js';

/** Locks on Redis masters that count once their replicas confirmed them. */
export class RedisStore implements LockStore {
  private readonly keyspace: Keyspace;
  private isOpen = false;
  private readonly changed = new Subject<KeyChange>();
  private readonly reported = new Subject<StoreReport>();
  readonly changes = this.changed.asObservable();
  readonly reports = this.reported.asObservable();

  constructor(
    private readonly options: RedisStoreOptions,
    clock: Clock = systemClock,
    /** Makes the connections; a simulation gives its own. */
    connector?: Connector,
  ) {
    const listener: KeyspaceListener = {
      onChange: (change) => this.changed.next(change),
      onReport: (level, code, message) => this.reported.next({ level, code, message }),
    };
    const deployment = deploymentOf(options.connection);
    this.keyspace =
      deployment.kind === 'cluster'
        ? new ClusterKeyspace(deployment, options, listener, clock, connector)
        : new SingleMaster(deployment, options, listener, clock, connector);
  }

  open(): void {
    if (this.isOpen) return;
    this.isOpen = true;
    this.keyspace.open();
  }

  acquire(request: AcquireRequest): Attempt {
    return this.keyspace.acquire(request);
  }

  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose = 'hold'): Promise<RenewOutcome> {
    return this.keyspace.renew(lock, leaseTime, purpose);
  }

  release(lock: HeldKeys, keepFor: number): Promise<ReleaseOutcome> {
    return this.keyspace.release(lock, keepFor);
  }

  watch(lock: OwnedKeys): Promise<WatchOutcome> {
    return this.keyspace.watch(lock);
  }

  async inspect(key: string): Promise<InspectOutcome> {
    const redisKey = this.options.keyPrefix + key;
    const replies = await this.keyspace.ask(key, () => [
      ['get', redisKey],
      ['pttl', redisKey],
    ]);
    if (!Array.isArray(replies)) return replies;
    const [value, pttl] = replies;
    if (value instanceof ErrorReply) return notAString(key);
    const found = parseValue(value as string | null, pttl as number);
    return found.kind === 'foreign' ? { ...found, key } : found;
  }

  async forceRelease(key: string): Promise<ForceReleaseOutcome> {
    // With the script's text, not its hash: a server that has forgotten its scripts need not be asked again.
    const replies = await this.keyspace.ask(key, () => [
      FORCE_RELEASE.command([this.options.keyPrefix + key], [], false),
    ]);
    if (!Array.isArray(replies)) return replies;
    const [reply] = replies;
    if (typeof reply === 'number') return { kind: 'done', wasHeld: reply === 1 };
    if (reply instanceof ErrorReply) return notAString(key);
    const found = parseValue(reply as string, 0);
    return { kind: 'foreign', key, found: found.kind === 'foreign' ? found.found : String(reply) };
  }

  get hearsChanges(): boolean {
    return this.keyspace.hearsChanges;
  }

  health(): StoreHealth {
    const masters = this.keyspace.health();
    const isUp = masters.every((master) => master.connected && master.reason === undefined);
    const isDown = masters.every((master) => !master.connected);
    return { status: isDown ? 'down' : isUp ? 'up' : 'degraded', masters };
  }

  async close(): Promise<void> {
    await this.keyspace.close();
    this.changed.complete();
    this.reported.complete();
  }
}

function notAString(key: string): { kind: 'foreign'; key: string; found: string } {
  return { kind: 'foreign', key, found: 'a value that is no string' };
}
