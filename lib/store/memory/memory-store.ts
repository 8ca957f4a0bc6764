import { NEVER, Subject, takeUntil } from 'rxjs';
import { systemClock, type Clock } from '../../common/clock.js';
import type {
  AcquireRequest,
  Attempt,
  ForceReleaseOutcome,
  HeldKeys,
  InspectOutcome,
  LockStore,
  OwnedKeys,
  ReleaseOutcome,
  RenewOutcome,
  RenewPurpose,
  StoreHealth,
  Unavailable,
  WatchOutcome,
} from '../lock-store.js';
import { Validity } from '../validity.js';
import { MemoryServer } from './memory-server.js';

const CLOSED: Unavailable = { kind: 'unavailable', reason: 'the lock store is closed.' };

/**
 * Locks within one process. The behaviour is the same as with Redis, without replicas and without
 * server failures.
 */
export class MemoryStore implements LockStore {
  private readonly closed = new Subject<void>();
  private isClosed = false;
  readonly changes;
  readonly hearsChanges = true;
  readonly reports = NEVER;

  constructor(
    private readonly clock: Clock = systemClock,
    private readonly server = new MemoryServer(clock),
  ) {
    this.changes = server.changes.pipe(takeUntil(this.closed));
  }

  acquire({ keys, owner, leaseTime }: AcquireRequest): Attempt {
    if (this.isClosed) return { outcome: Promise.resolve(CLOSED), abandon: () => {} };
    const outcome = this.server.acquire(keys, owner, leaseTime);
    return {
      outcome: Promise.resolve(outcome),
      abandon: () => {
        if (outcome.kind === 'granted') this.server.release(keys, owner, outcome.token, 0);
      },
    };
  }

  renew(
    { keys, owner, validity }: HeldKeys,
    leaseTime: number,
    purpose: RenewPurpose = 'hold',
  ): Promise<RenewOutcome> {
    if (this.isClosed || validity.remaining(this.clock) <= 0)
      return Promise.resolve({ kind: 'expired', why: CLOSED });
    const renewed = Validity.ofLease(leaseTime, this.clock);
    const gone = this.server.renew(keys, owner, leaseTime, purpose);
    return Promise.resolve(
      gone === undefined
        ? { kind: 'renewed', validity: renewed, confirmedBy: 0 }
        : { kind: 'gone', key: gone },
    );
  }

  release({ keys, owner, token }: HeldKeys, cooldown: number): Promise<ReleaseOutcome> {
    return Promise.resolve({ kind: 'released', ours: this.server.release(keys, owner, token, cooldown) });
  }

  watch({ keys, owner }: OwnedKeys): Promise<WatchOutcome> {
    const key = keys.find((each) => this.server.inspect(each)?.owner !== owner);
    return Promise.resolve(key === undefined ? { kind: 'held' } : { kind: 'gone', key });
  }

  inspect(key: string): Promise<InspectOutcome> {
    const holder = this.server.inspect(key);
    return Promise.resolve(holder === undefined ? { kind: 'free' } : { kind: 'held', holder });
  }

  forceRelease(key: string): Promise<ForceReleaseOutcome> {
    return Promise.resolve({ kind: 'done', wasHeld: this.server.forceRelease(key) });
  }

  health(): StoreHealth {
    return { status: this.isClosed ? 'down' : 'up', masters: [] };
  }

  open(): void {}

  close(): Promise<void> {
    this.isClosed = true;
    this.closed.next();
    return Promise.resolve();
  }
}
