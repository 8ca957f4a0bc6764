import { NEVER, Subject, takeUntil } from 'rxjs';
import { systemClock, type Clock } from '../../common/clock.js';
import {
  STORE_CLOSED,
  type AcquireRequest,
  type Attempt,
  type ForceReleaseOutcome,
  type HeldKeys,
  type InspectOutcome,
  type ListOutcome,
  type ListRequest,
  type LockStore,
  type OwnedKeys,
  type ReleaseOutcome,
  type Renewal,
  type RenewOutcome,
  type RenewPurpose,
  type StoreHealth,
  type WatchOutcome,
} from '../lock-store.js';
import { Validity } from '../validity.js';
import { MemoryServer } from './memory-server.js';

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

  acquire(request: AcquireRequest): Attempt {
    if (this.isClosed) return { outcome: Promise.resolve(STORE_CLOSED), abandon: () => {} };
    const outcome = this.server.acquire(request);
    return {
      outcome: Promise.resolve(outcome),
      abandon: () => {
        if (outcome.kind === 'granted') this.server.release({ ...request, ...outcome }, 0);
      },
    };
  }

  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose = 'hold'): Renewal {
    const outcome = this.renewNow(lock, leaseTime, purpose);
    return { outcome: Promise.resolve(outcome), whyNot: () => undefined };
  }

  protected renewNow(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose): RenewOutcome {
    if (this.isClosed || lock.validity.remaining(this.clock) <= 0)
      return { kind: 'expired', why: STORE_CLOSED };
    const validity = Validity.ofLease(leaseTime, this.clock);
    const key = this.server.renew(lock, leaseTime, purpose);
    return key === undefined ? { kind: 'renewed', validity, confirmedBy: 0 } : { kind: 'gone', key };
  }

  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome> {
    return Promise.resolve({ kind: 'released', ours: this.server.release(lock, cooldown) });
  }

  watch(lock: OwnedKeys): Promise<WatchOutcome> {
    const key = this.server.firstLost(lock);
    return Promise.resolve(key === undefined ? { kind: 'held' } : { kind: 'gone', key });
  }

  inspect(key: string): Promise<InspectOutcome> {
    return Promise.resolve(this.server.inspect(key));
  }

  list(request: ListRequest): Promise<ListOutcome> {
    return Promise.resolve(this.isClosed ? STORE_CLOSED : this.server.list(request));
  }

  forceRelease(key: string, owner?: string): Promise<ForceReleaseOutcome> {
    return Promise.resolve({ kind: 'done', wasHeld: this.server.forceRelease(key, owner) });
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
