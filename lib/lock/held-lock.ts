import { setMaxListeners } from 'node:events';
import type { Clock } from '../common/clock.js';
import type { Deadline, Deadlines, Timed } from '../common/deadlines.js';
import type { Whole } from '../common/whole.js';
import type {
  AcquireOutcome,
  HeldKeys,
  LockStore,
  ReleaseOutcome,
  Renewal,
  Unavailable,
  Unconfirmed,
} from '../store/lock-store.js';
import type { Validity } from '../store/validity.js';
import { NO_INDEX } from '../common/intrusive-set.js';
import { keepBusy } from './cooldown.js';
import { keyGone, reasonOf } from './error-texts.js';
import { LockLostError, LockUnavailableError } from './errors.js';
import type { LockEvent } from './events.js';
import { HELD, KEEPING, RELEASED, type Keeping, type State } from './held-lock-state.js';
import { Lock } from './lock.js';
import { leaseOf, type ResolvedOptions } from './options.js';
import { isPastHalfPeriod, type Renewals, type WheelPlace } from './renewals.js';

/** What a lock needs of its service. */
export interface HeldLockHost {
  readonly store: LockStore;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly renewals: Renewals;
  /** True if events have a listener. Without a listener no event of a success is made. */
  isHeard(): boolean;
  emit(event: LockEvent): void;
  /** The lock is not held any more. */
  ended(lock: HeldLock): void;
}

export type Grant = Extract<AcquireOutcome, { kind: 'granted' }>;

/** If the end of the lease is noticed more than this many ms late, the process stood still. */
const STANDSTILL = 500;

/** ms before the keys of a lock that is not renewed are watched again after a failure. */
const WATCH_RETRY_TIME = 1_000;

/** A lock while it is held. Renews itself and notices its loss. */
export class HeldLock extends Lock implements Whole<HeldKeys>, Timed {
  /** Called once, when the lock is lost, or when any code begins its release. */
  onEnd: (() => void) | undefined = undefined;
  /** The index among the locks of the service. */
  index = NO_INDEX;
  readonly fencingToken: number;
  readonly confirmedBy: number;
  /** The monotonic instant of the grant. */
  readonly grantedAt: number;
  leaseTime: number;
  validity: Validity;
  private readonly firstValidity: Validity;
  private state: State = HELD;
  private controller: AbortController | undefined;
  private place: WheelPlace | undefined;
  private stopRetry: (() => void) | undefined;
  private deadline: Deadline | undefined;
  /** Ends when the renewal under way is answered and the answer is dealt with. */
  private renewalDone: Promise<void> | undefined;
  /** The store's part of the renewal under way. */
  private openRenewal: Renewal | undefined;
  /** A change of a key was reported during the renewal: checks again after the answer. */
  private isOutdated = false;
  /** The monotonic instant at which the wheel last asked for a renewal; undefined before. */
  private renewalDueAt: number | undefined;
  /**
   * The number of pieces of work that run under the lock: the work that took the lock, and the work
   * that joined.
   */
  private users = 0;
  private keeping: Keeping | undefined;

  constructor(
    readonly keys: readonly string[],
    readonly owner: string,
    grant: Grant,
    private readonly options: ResolvedOptions,
    private readonly host: HeldLockHost,
  ) {
    super();
    this.fencingToken = grant.token;
    this.confirmedBy = grant.confirmedBy;
    this.grantedAt = host.clock.monotonic();
    this.validity = grant.validity;
    this.firstValidity = grant.validity;
    this.leaseTime = options.leaseTime;
  }

  /**
   * True if the first renewal was nearly due at the grant, because the confirmation took several
   * turns of a busy event loop.
   */
  get wasGrantedLate(): boolean {
    return isPastHalfPeriod(this.grantedAt - this.firstValidity.startedAt, this.leaseTime);
  }

  /**
   * Called 3 to 6 ms after the grant if the lock is still held, and at once after a late grant.
   * Starts renewal, the expiry timer and key tracking.
   */
  startUpkeep(): void {
    if (this.state.kind !== 'held' || this.deadline !== undefined) return;
    this.deadline = this.host.deadlines.add(this.validity.endsAt, this);
    this.startRenewing(this.heldFor);
    this.watch();
  }

  get token(): number {
    return this.fencingToken;
  }

  get limit(): number {
    return this.options.limit;
  }

  get acquiredAt(): Date {
    return new Date(this.firstValidity.startedAtWall);
  }

  get remainingTime(): number {
    return this.state.kind === 'held' ? this.validity.remaining(this.host.clock) : 0;
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      // The signal may be given to dozens of requests.
      setMaxListeners(Infinity, this.controller.signal);
      if (this.state.kind === 'lost') this.controller.abort(this.state.error);
    }
    return this.controller.signal;
  }

  /** The reason of the loss; undefined if the lock was not lost. */
  get loss(): LockLostError | undefined {
    this.noticeDeadline();
    return this.state.kind === 'lost' ? this.state.error : undefined;
  }

  assertHeld(): void {
    this.noticeDeadline();
    if (this.state.kind === 'lost') throw this.state.error;
    if (this.state.kind !== 'held') throw this.lossOf('it had been released by this process');
  }

  enter(): void {
    this.users++;
  }

  /** True for the last work to leave. */
  leave(): boolean {
    return --this.users === 0;
  }

  /** True after a release, or after a loss that was noticed. Does not ask the clock. */
  get hasEnded(): boolean {
    return this.state.kind !== 'held';
  }

  async extend(leaseTime?: number | string): Promise<void> {
    const lease = leaseTime === undefined ? this.leaseTime : leaseOf(leaseTime, this.options.longestLease);
    this.assertHeld();
    this.startUpkeep();
    if (lease !== this.leaseTime) {
      this.leaseTime = lease;
      this.stopRenewing();
      this.startRenewing(0);
    }
    // A renewal under way asked for the old lease.
    if (this.renewalDone !== undefined) await this.renewalDone;
    await this.renewOnce();
    this.assertHeld();
  }

  release(): Promise<boolean> {
    if (this.state.kind !== 'held') return Promise.resolve(false);
    const remaining = this.validity.remaining(this.host.clock);
    if (remaining <= 0) {
      this.loseAtDeadline();
      return Promise.resolve(false);
    }
    if (this.keeping !== undefined) return this.keep(this.keeping);
    const { minHoldTime, replicaTimeout } = this.options;
    const cooldown = minHoldTime > 0 ? Math.max(0, minHoldTime - this.heldFor) : 0;
    this.end(RELEASED);
    return cooldown > remaining
      ? keepBusy(this, cooldown, replicaTimeout, this.host).then((outcome) =>
          this.onReleased(outcome, 'kept busy'),
        )
      : this.host.store.release(this, cooldown).then((outcome) => this.onReleased(outcome, 'released'));
  }

  /**
   * From now on a release leaves this result in the key, for `keepFor` ms. Resolves once the lock
   * has ended: the result is kept unless there is a `loss`.
   */
  keepAtRelease(result: string, keepFor: number): Promise<void> {
    return new Promise((onEnd) => {
      this.keeping = { result, keepFor };
      this.onEnd = onEnd;
    });
  }

  private async keep({ result, keepFor }: Keeping): Promise<boolean> {
    this.end(KEEPING);
    const toKeep = { result, replicas: this.options.replicas };
    const outcome = await this.host.store.renew(this, keepFor, toKeep).outcome;
    if (outcome.kind === 'renewed') {
      this.end(RELEASED);
      this.tellReleased(true);
      return true;
    }
    this.lose(
      outcome.kind === 'gone'
        ? 'its key had been deleted or taken before the result was kept'
        : `its lease ended before the result was confirmed, and nothing is kept: ${reasonOf(outcome.why, this.leaseTime, false)}`,
    );
    return false;
  }

  /** `failed`: for the message of the error. */
  private onReleased(outcome: ReleaseOutcome, failed: 'released' | 'kept busy'): boolean {
    if (outcome.kind === 'unavailable') {
      this.tellReleased(false);
      throw new LockUnavailableError(this.keys, outcome, failed);
    }
    // If the lease has ended meanwhile, the key may have expired after the work was done. Nothing
    // shows a loss.
    const isLost = !outcome.ours && this.validity.remaining(this.host.clock) > 0;
    if (isLost) this.lose('its key had been deleted or taken before it was released');
    else this.tellReleased(true);
    return !isLost;
  }

  /** Called once in each period: renews, unless `maxHoldTime` is over. */
  renew(): void {
    const { maxHoldTime } = this.options;
    if (maxHoldTime !== undefined && this.heldFor >= maxHoldTime) this.stopRenewing();
    else {
      this.renewalDueAt = this.host.clock.monotonic();
      void this.renewOnce();
    }
  }

  /** One of the keys was changed, or may have been: asks the store. */
  check(): void {
    if (this.state.kind !== 'held') return;
    if (this.renewalDone !== undefined) this.isOutdated = true;
    else if (this.isRenewing) void this.renewOnce();
    else this.watch();
  }

  /** From now on the store reports changes of the keys. Earlier changes are reported at once. */
  watch(): void {
    if (this.state.kind === 'held') void this.watchKeys();
  }

  /** The validity has ended by the monotonic clock. */
  onDue(): void {
    if (this.state.kind === 'held') this.loseAtDeadline();
  }

  /** The lock is not ours any more. */
  lose(why: string, { takeBack = false, cause }: { takeBack?: boolean; cause?: unknown } = {}): void {
    if (this.state.kind === 'lost') return;
    const error = this.lossOf(why, cause);
    this.end({ kind: 'lost', error });
    this.controller?.abort(error);
    if (takeBack) void this.host.store.release(this, 0);
    const { keys, owner, fencingToken, heldFor: held } = this;
    const { label } = this.options;
    this.host.emit({ type: 'lost', keys, label, owner, fencingToken, held, error });
  }

  private get isRenewing(): boolean {
    const { renew, maxHoldTime } = this.options;
    return renew && (maxHoldTime === undefined || this.heldFor < maxHoldTime);
  }

  /** How long the lock has been held, in ms, counted from the request that was granted. */
  private get heldFor(): number {
    return this.host.clock.monotonic() - this.firstValidity.startedAt;
  }

  /**
   * Renews, unless a renewal is under way. If the deadline has passed, the lock is lost and not
   * renewed.
   */
  private renewOnce(): Promise<void> {
    this.noticeDeadline();
    if (this.state.kind === 'held') this.renewalDone ??= this.askToRenew();
    return this.renewalDone ?? Promise.resolve();
  }

  private async askToRenew(): Promise<void> {
    this.isOutdated = false;
    this.openRenewal = this.host.store.renew(this, this.leaseTime);
    const outcome = await this.openRenewal.outcome;
    this.renewalDone = undefined;
    this.openRenewal = undefined;
    // Checks the state again: the lock may have been released meanwhile, which gives its keys back.
    if (this.state.kind !== 'held') return;
    if (outcome.kind === 'renewed') {
      this.validity = outcome.validity;
      if (this.deadline !== undefined) this.host.deadlines.move(this.deadline, outcome.validity.endsAt);
      if (this.host.isHeard()) this.emitRenewed(outcome.confirmedBy);
      // Long turns of the event loop can make the next renewal due meanwhile.
      const isDueAgain = this.renewalDueAt !== undefined && this.renewalDueAt > this.validity.startedAt;
      if (this.isOutdated || isDueAgain) this.check();
    } else if (outcome.kind === 'gone') this.loseKey(outcome.key);
    else if (this.validity.remaining(this.host.clock) <= 0) this.loseAtDeadline(outcome.why);
    else this.lose(`its renewal was given up: ${reasonOf(outcome.why, this.leaseTime)}`, { takeBack: true });
  }

  private async watchKeys(): Promise<void> {
    const outcome = await this.host.store.watch(this);
    if (this.state.kind !== 'held') return;
    if (outcome.kind === 'gone') this.loseKey(outcome.key);
    // A renewal watches the keys again by itself.
    else if (outcome.kind === 'unknown' && !this.isRenewing) {
      this.stopRetry?.();
      this.stopRetry = this.host.clock.after(WATCH_RETRY_TIME, () => this.watch());
    }
  }

  /** The other keys of the lock are given back, since the lock holds them no more. */
  private loseKey(key: string): void {
    this.lose(keyGone(key), { takeBack: this.keys.length > 1 });
  }

  /** `passed`: ms of the first period that are over. */
  private startRenewing(passed: number): void {
    if (!this.isRenewing) return;
    this.place = this.host.renewals.start(this, this.leaseTime, passed);
    // On a busy event loop `startUpkeep` comes late.
    if (isPastHalfPeriod(passed, this.leaseTime)) this.renew();
  }

  private stopRenewing(): void {
    this.place?.delete(this);
  }

  private noticeDeadline(): void {
    if (this.state.kind === 'held' && this.validity.remaining(this.host.clock) <= 0) this.loseAtDeadline();
  }

  /** `why`: what the renewal under way lacks. */
  private loseAtDeadline(why = this.openRenewal?.whyNot()): void {
    this.lose(this.whyOver(why), { takeBack: true });
  }

  private whyOver(why: Unconfirmed | Unavailable | undefined): string {
    const { renew, maxHoldTime } = this.options;
    const lease = `its lease of ${this.leaseTime} ms ended`;
    if (!renew) return `${lease}, and renew is false: lengthen leaseTime or renew it`;
    const overdue = this.validity.overdue(this.host.clock);
    if (overdue > STANDSTILL && overdue > this.leaseTime / 10)
      return `${lease} while this process did not run, for ${(overdue / 1000).toFixed(1)} s and more (a blocked event loop, a pause of process or host, or a clock that was set forward)`;
    if (maxHoldTime !== undefined && why === undefined && this.heldFor >= maxHoldTime)
      return `${lease}, and maxHoldTime (${maxHoldTime} ms) had ended its renewal`;
    return `${lease} before a renewal was confirmed${why === undefined ? '' : `: ${reasonOf(why, this.leaseTime)}`}`;
  }

  private end(state: State): void {
    const before = this.state.kind;
    this.state = state;
    if (before === 'held') {
      this.stopRetry?.();
      this.stopRenewing();
      if (this.deadline !== undefined) this.host.deadlines.stop(this.deadline);
    }
    // A shutdown waits for a result that is not confirmed yet.
    if (state.kind === 'keeping' || (before !== 'held' && before !== 'keeping')) return;
    this.host.ended(this);
    this.onEnd?.();
  }

  private lossOf(why: string, cause?: unknown): LockLostError {
    return new LockLostError(this.keys, new Date(this.host.clock.wall()), why, cause, this.limit);
  }

  private emitRenewed(confirmedBy: number): void {
    const { keys, owner, remainingTime } = this;
    const { label } = this.options;
    this.host.emit({ type: 'renewed', keys, label, owner, confirmedBy, remainingTime });
  }

  private tellReleased(answered: boolean): void {
    if (answered && !this.host.isHeard()) return;
    const { keys, owner, fencingToken, heldFor: held } = this;
    const { label } = this.options;
    this.host.emit({ type: 'released', keys, label, owner, fencingToken, held, answered });
  }
}
