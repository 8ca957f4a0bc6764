import type { Timed } from '../common/deadlines.js';
import type { Whole } from '../common/whole.js';
import {
  confirmTimeOf,
  type AcquireOutcome,
  type AcquireRequest,
  type Busy,
  type Unavailable,
  type Unconfirmed,
} from '../store/lock-store.js';
import { NO_INDEX } from '../common/intrusive-set.js';
import type { AcquisitionHost } from './acquisition-host.js';
import {
  ENDED,
  PAUSING,
  QUEUED,
  SLEEPING,
  STAYING_ON,
  type Asking,
  type State,
} from './acquisition-state.js';
import { BusyKey } from './busy-key.js';
import { LockKeyError, LockOptionsError } from './errors.js';
import { needsAtLeast } from './demand.js';
import { contendedEvent, unconfirmedEvent } from './events.js';
import type { Grant, HeldLock } from './held-lock.js';
import type { ResolvedOptions } from './options.js';
import { KeyQueues } from './key-queues.js';
import { isInVain, newestOutcome, refusalOf, silenceOf } from './last-answer.js';
import { TimeLimit } from './time-limit.js';
import type { SharedOutcome, WaitQueue } from './wait-queue.js';
import type { Waiter } from './waiter.js';

/** ms before asking again after a failure: doubled each time. */
const FIRST_RETRY_PAUSE = 25;
const LONGEST_RETRY_PAUSE = 1_000;
/**
 * ms beyond `waitTime` that a queued caller waits for the answer to another caller of the queue:
 * the time of both may end in one instant.
 */
const STAY_TIME = 50;

/**
 * One caller on the way to a lock. Asks the store. If the key is busy, the caller stands in the
 * key's queue. As soon as the caller is first and the key has changed, the caller asks again.
 *
 * A caller that asks for several keys stands in the queue of the key that was found busy, and then
 * asks for all keys again. Callers that stood in all queues at once could wait for each other.
 */
export class Acquisition implements Waiter, Timed {
  /** The index among the acquisitions of the service. */
  index = NO_INDEX;
  ahead: Waiter | undefined = undefined;
  behind: Waiter | undefined = undefined;
  private state: State = QUEUED;
  readonly sorted: readonly string[];
  private readonly keyQueues = new KeyQueues(this);
  private lastOutcome: Busy | Unconfirmed | Unavailable | undefined;
  private pauseTime = FIRST_RETRY_PAUSE;
  /** The key changed since the last answer. */
  private wasChanged = false;
  private busyKey: BusyKey | undefined;
  private readonly time: TimeLimit;
  private stopTimer: (() => void) | undefined;

  constructor(
    readonly keys: readonly string[],
    readonly options: ResolvedOptions,
    /** The caller is work that holds a lock already, and that must be able to end. */
    readonly isNested: boolean,
    /** The owner of a lock on one of the keys that the asking context itself holds. */
    private readonly ownOwner: string | undefined,
    private readonly host: AcquisitionHost,
    private readonly resolve: (lock: HeldLock) => void,
    private readonly reject: (reason: unknown) => void,
    /** Ends the acquisition of a caller that needs no lock if the key keeps a result. */
    private readonly resolveKept?: () => void,
  ) {
    this.time = new TimeLimit(options, host);
    this.sorted = keys.length === 1 ? keys : keys.toSorted();
  }

  /** The monotonic instant at which the caller asked. */
  get askedAt(): number {
    return this.time.askedAt;
  }

  start(): void {
    // A listener may have cancelled this acquisition before its start.
    if (this.state.kind === 'ended') return;
    const { signal, waitTime } = this.options;
    if (signal?.aborted === true) {
      this.state = ENDED;
      this.host.left(this);
      this.reject(signal.reason);
      return;
    }
    if (signal !== undefined) this.host.signals.add(signal, this);
    this.keyQueues.open(this.host.waitQueues);
    this.time.start(this);
    // With `waitTime` 0 the caller asks beside the queue. A caller for several keys asks at once if
    // no queue has waiters. Any other caller joins, and asks now only if it is the first.
    const queue = this.keyQueues.entry;
    if (waitTime === 0 || queue === undefined || this.join(queue)) this.ask();
  }

  /** Ends the waiting with this reason. What an open attempt writes is taken back. */
  cancel(reason: unknown): void {
    if (this.state.kind === 'ended') return;
    this.end();
    this.reject(reason);
  }

  /**
   * A waiter past its `waitTime` does not ask again: the deadline is about to fire, and thousands
   * of waiters may expire together.
   */
  get isReady(): boolean {
    return this.state.kind === 'queued' && !this.time.isOver;
  }

  onTurn(): void {
    this.ask();
  }

  onChange(): void {
    if (this.state.kind !== 'sleeping' && this.state.kind !== 'checking') return;
    this.stopTimer?.();
    this.wasChanged = true;
    const now = this.host.clock.monotonic();
    const isRenewal = this.state.kind === 'sleeping' && this.busyKey?.isProbablyRenewal(now) === true;
    const pause = this.busyKey?.pauseAfterChange(now) ?? 0;
    if (isRenewal && this.lastOutcome?.kind === 'busy') void this.checkHolder(this.lastOutcome, true);
    else if (pause > 0) this.pauseAs(SLEEPING, pause, () => this.ask());
    else this.ask();
  }

  onAnswer(): void {
    if (this.state.kind !== 'staying on') return;
    const answer = this.keyQueues.current?.lastAnswer;
    const hasFailed =
      answer !== undefined && answer.outcome.kind !== 'busy' && needsAtLeast(this, answer.asker);
    if (this.options.waitTime > 0 || answer?.outcome.kind === 'busy' || hasFailed) this.failWithLastAnswer();
    else {
      this.keyQueues.endStay();
      this.ask();
    }
  }

  /** The key keeps a result, so there is nothing to do under a lock. */
  onKept(): void {
    if (this.resolveKept === undefined || this.state.kind === 'ended') return;
    this.end();
    this.resolveKept();
  }

  /** True if no other caller stands before this one. */
  private join(queue: WaitQueue): boolean {
    this.state = QUEUED;
    return this.keyQueues.join(queue);
  }

  private ask(): void {
    const { store, owners } = this.host;
    const { leaseTime, limit, replicas, replicaTimeout, waitTime } = this.options;
    const owner = owners.next();
    const questions = this.keyQueues.ask(owner);
    const attempt = store.acquire({
      keys: this.sorted,
      owner,
      limit,
      leaseTime,
      replicas,
      replicaTimeout,
      waitUntil: this.askedAt + waitTime,
      wantedUntil: this.askedAt + waitTime,
      isShared: this.busyKey?.isShared === true,
    } satisfies Whole<AcquireRequest>);
    const asking: Asking = { kind: 'asking', attempt, owner, questions };
    this.state = asking;
    this.keyQueues.current?.takeTurn(this);
    void attempt.outcome.then((outcome) => {
      if (this.state === asking) this.onOutcome(outcome, asking);
    });
  }

  private onOutcome(outcome: AcquireOutcome, asking: Asking): void {
    const isTakenBack = outcome.kind === 'unconfirmed' || outcome.kind === 'unavailable';
    this.keyQueues.closeQuestions(asking.questions, isTakenBack);
    switch (outcome.kind) {
      case 'granted':
        this.onGranted(outcome, asking.owner);
        break;
      case 'busy':
        this.onBusy(outcome, asking);
        break;
      case 'unconfirmed':
      case 'unavailable':
        this.onFailure(outcome, asking);
        break;
      case 'foreign':
        this.fail(LockKeyError.foreign(this.keys, outcome));
        break;
      case 'misconfigured':
        this.fail(LockOptionsError.ofServer(this.keys, outcome));
    }
  }

  private onGranted(grant: Grant, owner: string): void {
    this.state = ENDED;
    // The caller gets the lock first. The next caller in the queue asks only then.
    const lock = this.host.granted(this, owner, grant);
    this.resolve(lock);
    this.keyQueues.shareGrant(grant, owner, lock.limit, lock.remainingTime);
    this.keyQueues.leave();
    this.finish();
  }

  private onBusy(busy: Busy, asking: Asking): void {
    const queue = this.keyQueues.of(busy.key);
    // An attempt of this process holds nothing before it is granted.
    const isHeld = queue.questions.attemptOf(busy.holder.owner) === undefined;
    const last = this.lastOutcome;
    const now = this.host.clock.monotonic();
    this.busyKey ??= new BusyKey(this.options.leaseTime);
    this.busyKey.found(busy.holder, this.wasChanged, now, busy.shared);
    this.wasChanged = false;
    if (isHeld || last === undefined || last.kind === 'busy') this.lastOutcome = busy;
    // Only an attempt of this process: the failure before explains better why there is no lock.
    else this.busyKey.forgetHolder();
    this.pauseTime = FIRST_RETRY_PAUSE;
    if (this.keyQueues.current !== queue && !this.time.isOver) {
      this.keyQueues.leave();
      this.join(queue);
    }
    if (isHeld) this.keyQueues.share(busy);
    if (busy.holder.keepsResult === true) this.onKept();
    if (this.keyQueues.current === queue) queue.foundBusy(this);
    // A caller that heard of the answer may have cancelled this caller, or the turn of this caller
    // may have come in the other queue.
    if (this.state !== asking && this.state.kind !== 'queued') return;
    if (this.time.isOver) {
      this.failWithLastAnswer();
      return;
    }
    const isFirst = queue.isFirst(this);
    const question = asking.questions[this.sorted.indexOf(busy.key)]!;
    const wasOvertaken = queue.changes !== question.changes;
    if (wasOvertaken && busy.shared === undefined) this.ask();
    else if (isFirst) {
      this.sleep(busy, this.busyKey);
      if (wasOvertaken) this.onChange();
    } else {
      this.state = QUEUED;
      queue.handOn();
    }
  }

  private sleep(busy: Busy, busyKey: BusyKey): void {
    const { clock, store } = this.host;
    const { kind, after } = busyKey.nextStep(clock.monotonic(), store.hearsChanges, Math.random());
    const onEnd = kind === 'ask' ? () => this.ask() : () => void this.checkHolder(busy, false);
    this.pauseAs(SLEEPING, after, onEnd);
  }

  /** Asks only whether the holder still holds the key. `wasChanged`: the key was changed before. */
  private async checkHolder(busy: Busy, wasChanged: boolean): Promise<void> {
    const checking: State = { kind: 'checking' };
    this.state = checking;
    const { kind } = await this.host.store.watch({ keys: [busy.key], owner: busy.holder.owner, limit: 1 });
    if (this.state !== checking) return;
    const { busyKey } = this;
    if (kind !== 'held' || busyKey === undefined) this.ask();
    else {
      this.wasChanged = false;
      if (wasChanged) busyKey.renewed(this.host.clock.monotonic());
      this.sleep(busy, busyKey);
    }
  }

  private onFailure(failure: Unconfirmed | Unavailable, asking: Asking): void {
    this.lastOutcome = failure;
    this.busyKey?.forgetHolder();
    const { keys, options } = this;
    const queue = this.keyQueues.current;
    if (failure.kind === 'unconfirmed')
      this.host.emit(unconfirmedEvent(keys, options.label, failure, confirmTimeOf(options)));
    queue?.fail(this);
    this.keyQueues.share(failure);
    // A caller that heard of the failure may have cancelled this one.
    if (this.state !== asking) return;
    if (this.time.isOver || isInVain(failure, options.waitTime - this.time.waited)) this.failWithLastAnswer();
    else if (queue !== undefined && !queue.isFirst(this)) {
      this.state = QUEUED;
      queue.handOn(true);
    } else {
      this.pauseAs(PAUSING, this.pauseTime * (0.5 + Math.random() / 2), () => this.onPauseEnd());
      this.pauseTime = Math.min(LONGEST_RETRY_PAUSE, this.pauseTime * 2);
      queue?.handOn(true);
    }
  }

  private onPauseEnd(): void {
    this.state = QUEUED;
    const queue = this.keyQueues.current;
    if (queue === undefined) this.ask();
    else queue.handOn();
  }

  private pauseAs(state: State, time: number, onEnd: () => void): void {
    this.state = state;
    this.stopTimer = this.host.clock.after(time, onEnd);
  }

  /** `waitTime` is over. Questions that are open may still be answered, for a while. */
  onDue(): void {
    const { state, options } = this;
    const queue = this.keyQueues.current;
    const now = this.host.clock.monotonic();
    if (state.kind === 'asking') {
      if (this.time.extendForAnswer()) return;
      if (this.lastOutcome === undefined || this.lastOutcome.kind === 'busy')
        this.lastOutcome = silenceOf(this.host.store);
      this.failWithLastAnswer();
      return;
    }
    const since = state.kind === 'queued' ? queue?.questions.awaitedSince : undefined;
    const until = since === undefined ? now : Math.max(since + options.replicaTimeout, now + STAY_TIME);
    if (queue !== undefined && until > now) this.stayOn(queue, until);
    else this.failWithLastAnswer();
  }

  /** The answer to the open question of another caller of this process serves this one as well. */
  private stayOn(queue: WaitQueue, until: number): void {
    this.stopTimer?.();
    this.keyQueues.stayOn(queue);
    this.state = STAYING_ON;
    this.time.extendTo(until);
  }

  private failWithLastAnswer(): void {
    const { keys, options } = this;
    const last = this.lastKnown();
    const now = this.host.clock.monotonic();
    if (last.outcome.kind === 'busy') {
      const { key, holder } = last.outcome;
      const queue = this.keyQueues.of(key);
      if (queue.questions.attemptOf(holder.owner) === 'open' && now < this.time.latestEnd) {
        this.stayOn(queue, this.time.latestEnd);
        return;
      }
      const { label } = options;
      if (this.host.isHeard()) this.host.emit(contendedEvent(keys, label, holder, this.time.waited));
    }
    this.fail(refusalOf(keys, last, { waitTime: options.waitTime, ownOwner: this.ownOwner, now }));
  }

  /**
   * The last that is known of the keys: the caller's own answer, or a newer answer of another kind
   * that a caller in the same queue got.
   */
  private lastKnown(): SharedOutcome {
    const { lastOutcome } = this;
    const queue = this.keyQueues.current;
    const now = this.host.clock.monotonic();
    const own = lastOutcome && { outcome: lastOutcome, asker: this, at: now };
    const last = newestOutcome(own, queue?.lastAnswer);
    const isUnanswered = queue?.questions.isSilentSince(now - this.options.replicaTimeout) === true;
    if (last === undefined || (last.outcome.kind === 'busy' && isUnanswered))
      return { outcome: silenceOf(this.host.store), asker: this, at: now };
    return last;
  }

  private fail(error: Error): void {
    this.end();
    this.reject(error);
  }

  private end(): void {
    const { state } = this;
    if (state.kind === 'asking') {
      state.attempt.abandon();
      this.keyQueues.closeQuestions(state.questions, true);
    }
    this.keyQueues.leave();
    this.state = ENDED;
    this.finish();
    if (state.kind === 'asking') this.keyQueues.notifyTimedOut();
  }

  /** Stops every clock, and leaves the service. */
  private finish(): void {
    this.stopTimer?.();
    this.time.stop();
    const { signal } = this.options;
    if (signal !== undefined) this.host.signals.delete(signal, this);
    this.keyQueues.close();
    this.host.left(this);
  }
}
