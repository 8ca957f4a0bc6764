import type { Clock } from '../common/clock.js';
import { Waiters } from '../common/waiters.js';
import type {
  AcquireOutcome,
  AcquireRequest,
  Attempt,
  ForceReleaseOutcome,
  HeldKeys,
  InspectOutcome,
  ListOutcome,
  ListRequest,
  ReleaseOutcome,
  Renewal,
  RenewPurpose,
  StoreHealth,
  Unavailable,
  Unconfirmed,
} from '../store/lock-store.js';
import type { MemoryServer } from '../store/memory/memory-server.js';
import { MemoryStore } from '../store/memory/memory-store.js';

const DOWN: Unavailable = { kind: 'unavailable', reason: 'Redis cannot be reached, as the test has set.' };
const SILENT: Unconfirmed = {
  kind: 'unconfirmed',
  confirmed: 0,
  required: 1,
  replicas: [{ address: 'replica.test:6379', acknowledged: false, lag: 1 }],
};

/** Locks in memory, with the faults of Redis that a test asks for. */
export class TestStore extends MemoryStore {
  private state: 'well' | 'replicas silent' | 'down' = 'well';
  private readonly recoveries: Waiters;

  constructor(
    private readonly testClock: Clock,
    private readonly testServer: MemoryServer,
  ) {
    super(testClock, testServer);
    this.recoveries = new Waiters(testClock);
  }

  fail(state: 'replicas silent' | 'down'): void {
    this.state = state;
  }

  recover(): void {
    this.state = 'well';
    this.recoveries.notify();
  }

  override acquire(request: AcquireRequest): Attempt {
    if (this.state === 'down') return { outcome: Promise.resolve(DOWN), abandon: () => {} };
    const attempt = super.acquire(request);
    return this.state === 'well' ? attempt : this.unconfirmed(request, attempt);
  }

  override renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose = 'hold'): Renewal {
    if (this.state === 'well') return super.renew(lock, leaseTime, purpose);
    const why = this.state === 'down' ? DOWN : SILENT;
    const outcome = this.recoversWithin(lock.validity.remaining(this.testClock)).then((isWell) =>
      isWell ? this.renewNow(lock, leaseTime, purpose) : ({ kind: 'expired', why } as const),
    );
    return { outcome, whyNot: () => why };
  }

  override release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome> {
    return this.state === 'down' ? Promise.resolve(DOWN) : super.release(lock, cooldown);
  }

  override inspect(key: string): Promise<InspectOutcome> {
    return this.state === 'down' ? Promise.resolve(DOWN) : super.inspect(key);
  }

  override list(request: ListRequest): Promise<ListOutcome> {
    return this.state === 'down' ? Promise.resolve(DOWN) : super.list(request);
  }

  override forceRelease(key: string, owner?: string): Promise<ForceReleaseOutcome> {
    return this.state === 'down' ? Promise.resolve(DOWN) : super.forceRelease(key, owner);
  }

  override health(): StoreHealth {
    if (this.state === 'well') return super.health();
    return { status: this.state === 'down' ? 'down' : 'degraded', masters: [] };
  }

  /** The lock is written on the master, and taken back if no replica confirms in time. */
  private unconfirmed(request: AcquireRequest, attempt: Attempt): Attempt {
    const settle = async (): Promise<AcquireOutcome> => {
      const outcome = await attempt.outcome;
      if (outcome.kind !== 'granted' || (await this.recoversWithin(request.replicaTimeout))) return outcome;
      this.testServer.release({ ...request, ...outcome }, 0);
      return SILENT;
    };
    return { outcome: settle(), abandon: () => attempt.abandon() };
  }

  private async recoversWithin(ms: number): Promise<boolean> {
    return this.state === 'well' || (await this.recoveries.next(ms));
  }
}
