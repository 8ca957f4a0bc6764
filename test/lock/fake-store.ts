import { Subject } from 'rxjs';
import type {
  AcquireOutcome,
  AcquireRequest,
  Attempt,
  ForceReleaseOutcome,
  HeldKeys,
  InspectOutcome,
  KeyChange,
  ListOutcome,
  ListRequest,
  LockStore,
  OwnedKeys,
  ReleaseOutcome,
  Renewal,
  RenewOutcome,
  RenewPurpose,
  SharedKey,
  StoreHealth,
  StoreReport,
  Unavailable,
  WatchOutcome,
} from '../../lib/store/lock-store.js';
import type { Clock } from '../../lib/common/clock.js';
import { instantOf, Validity, type Instant } from '../../lib/store/validity.js';

export interface Asked {
  readonly request: AcquireRequest;
  readonly startsAt: Instant;
  isAbandoned: boolean;
  answer(outcome: AcquireOutcome): void;
}

/** A store whose test decides when it answers, and what. */
export class FakeStore implements LockStore {
  readonly changes = new Subject<KeyChange>();
  readonly reports = new Subject<StoreReport>();
  hearsChanges = true;
  readonly asked: Asked[] = [];
  readonly renewals: {
    lock: HeldKeys;
    leaseTime: number;
    purpose: RenewPurpose;
    startsAt: Instant;
    answer(outcome: RenewOutcome): void;
  }[] = [];
  readonly releases: { lock: HeldKeys; cooldown: number }[] = [];
  readonly watched: OwnedKeys[] = [];
  /** The key that a check of the owner finds in other hands. */
  gone: string | undefined;
  watchOutcome: WatchOutcome = { kind: 'held' };
  releaseOutcome: ReleaseOutcome = { kind: 'released', ours: true };
  /** What every renewal under way lacks. */
  whyNot: Unavailable | undefined;
  inspectOutcome: InspectOutcome = { kind: 'free' };
  /** The answers to `list`, one after the other. */
  pages: ListOutcome[] = [];
  readonly listed: ListRequest[] = [];
  forceOutcome: ForceReleaseOutcome = { kind: 'done', wasHeld: true };
  isClosed = false;
  private token = 1_000;

  constructor(private readonly clock: Clock) {}

  /** The last acquisition that was asked for. */
  get last(): Asked {
    return this.asked.at(-1)!;
  }

  acquire(request: AcquireRequest): Attempt {
    let answer!: Asked['answer'];
    const outcome = new Promise<AcquireOutcome>((resolve) => (answer = resolve));
    const asked: Asked = { request, startsAt: instantOf(this.clock), isAbandoned: false, answer };
    this.asked.push(asked);
    return { outcome, abandon: () => (asked.isAbandoned = true) };
  }

  grant(asked = this.last): void {
    const validity = Validity.ofLease(asked.request.leaseTime, this.clock);
    asked.answer({ kind: 'granted', token: ++this.token, confirmedBy: 2, validity });
  }

  busy(asked = this.last, remainingTime = 5_000): void {
    const holder = { owner: 'rl:other-host:1:2', token: 7, remainingTime, inCooldown: false, limit: 1 };
    asked.answer({ kind: 'busy', key: asked.request.keys[0]!, holder });
  }

  /** Answers that locks with a limit above 1 hold the key. */
  full(asked = this.last, shared: SharedKey = { holders: 4, isMarked: false }, remainingTime = 5_000): void {
    const holder = { owner: 'rl:other-host:1:3', token: 7, remainingTime, inCooldown: false, limit: 4 };
    asked.answer({ kind: 'busy', key: asked.request.keys[0]!, holder, shared });
  }

  renew(lock: HeldKeys, leaseTime: number, purpose: RenewPurpose = 'hold'): Renewal {
    const startsAt = instantOf(this.clock);
    const outcome = new Promise<RenewOutcome>((answer) =>
      this.renewals.push({ lock, leaseTime, purpose, startsAt, answer }),
    );
    return { outcome, whyNot: () => this.whyNot };
  }

  renewed(index = this.renewals.length - 1): void {
    const { answer, leaseTime } = this.renewals[index]!;
    answer({ kind: 'renewed', validity: Validity.ofLease(leaseTime, this.clock), confirmedBy: 2 });
  }

  release(lock: HeldKeys, cooldown: number): Promise<ReleaseOutcome> {
    this.releases.push({ lock, cooldown });
    return Promise.resolve(this.releaseOutcome);
  }

  watch(lock: OwnedKeys): Promise<WatchOutcome> {
    this.watched.push(lock);
    const { gone: key } = this;
    return Promise.resolve(key === undefined ? this.watchOutcome : { kind: 'gone', key });
  }

  inspect(): Promise<InspectOutcome> {
    return Promise.resolve(this.inspectOutcome);
  }

  list(request: ListRequest): Promise<ListOutcome> {
    this.listed.push(request);
    return Promise.resolve(this.pages.shift() ?? { kind: 'page', locks: [] });
  }

  forceRelease(): Promise<ForceReleaseOutcome> {
    return Promise.resolve(this.forceOutcome);
  }

  health(): StoreHealth {
    return { status: 'up', masters: [] };
  }

  open(): void {}

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}
