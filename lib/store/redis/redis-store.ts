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
  ReleaseOutcome,
  RenewOutcome,
  StoreHealth,
  StoreReport,
} from '../lock-store.js';
import { ErrorReply, type Connector } from './connection.js';
import type { Master, MasterListener } from './master.js';
import type { RedisStoreOptions } from './options.js';
import { FORCE_RELEASE } from './scripts/force-release.js';
import { parseValue } from './scripts/value.js';
import { singleMaster, type RunningDeployment } from './single-master.js';

/** Locks on a Redis master that count once its replicas confirmed them. */
export class RedisStore implements LockStore {
  private readonly deployment: RunningDeployment;
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
    const listener: MasterListener = {
      onChange: (key) => this.changed.next(key === undefined ? { every: true } : { key }),
      onReport: (level, code, message) => this.reported.next({ level, code, message }),
    };
    this.deployment = singleMaster(options, listener, clock, connector);
  }

  open(): void {
    this.deployment.open();
  }

  private get master(): Master {
    return this.deployment.master;
  }

  acquire(request: AcquireRequest): Attempt {
    return this.master.acquire(request);
  }

  renew(lock: HeldKeys, leaseTime: number): Promise<RenewOutcome> {
    return this.master.renew(lock.keys, lock.owner, leaseTime, lock.validity);
  }

  release({ keys, owner, leaseTime }: HeldKeys, keepFor: number): Promise<ReleaseOutcome> {
    return this.master.release({ keys, owner, keepFor }, leaseTime);
  }

  async inspect(key: string): Promise<InspectOutcome> {
    const redisKey = this.options.keyPrefix + key;
    const replies = await this.master.ask(() => [
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
    const replies = await this.master.ask((session) => [
      session.scriptCommand(FORCE_RELEASE, [this.options.keyPrefix + key], []),
    ]);
    if (!Array.isArray(replies)) return replies;
    const [reply] = replies;
    if (typeof reply === 'number') return { kind: 'done', wasHeld: reply === 1 };
    if (reply instanceof ErrorReply) return notAString(key);
    const found = parseValue(reply as string, 0);
    return { kind: 'foreign', key, found: found.kind === 'foreign' ? found.found : String(reply) };
  }

  get hearsChanges(): boolean {
    return this.master.hearsChanges;
  }

  health(): StoreHealth {
    const master = this.master.health();
    const status = !master.connected ? 'down' : master.reason === undefined ? 'up' : 'degraded';
    return { status, masters: [master] };
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
