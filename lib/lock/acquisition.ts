import type { Clock } from '../common/clock.js';
import type { Deadline, Deadlines, Timed } from '../common/deadlines.js';
import type {
  AcquireOutcome,
  Attempt,
  Busy,
  LockStore,
  Unavailable,
  Unconfirmed,
} from '../store/lock-store.js';
import { NO_INDEX } from '../common/intrusive-set.js';
import type { AbortSignals } from './abort-signals.js';
import {
  LockContendedError,
  LockKeyError,
  LockNotReplicatedError,
  LockOptionsError,
  LockUnavailableError,
} from './errors.js';
import { confirmTimeOf, needsAtLeast } from './demand.js';
import type { LockEvent } from './events.js';
import type { Grant, HeldLock } from './held-lock.js';
import type { ResolvedOptions } from './options.js';
import type { Owners } from './owners.js';
import type { Question } from './questions.js';
import { renewalPeriodOf } from './renewals.js';
import type { SharedOutcome, WaitQueue } from './wait-queue.js';
import type { Waiter } from './waiter.js';
import type { WaitQueues } from './wait-queues.js';

/** ms between two looks of a waiter that hears of changes; it is told, so this is only for a notice that got lost. */
const FALLBACK_POLL_TIME = 8_000;
/** The same for one that hears of none. */
const UNTRACKED_POLL_TIME = 250;
/** ms that one sleeps at the least: a key that is about to expire is not asked for in a loop. */
const SHORTEST_SLEEP = 10;
/** ms that a renewal may be early or late by, at the least. */
const RENEWAL_TOLERANCE = 50;
/** ms before asking again after a failure: doubled each time. */
const FIRST_RETRY_PAUSE = 25;
const LONGEST_RETRY_PAUSE = 1_000;
/** ms beyond `waitTime` that a caller in the queue waits for an answer to the one before it: the time of both may end in one instant. */
const GRACE = 50;
/** ms beyond `waitTime` and `replicaTimeout` after which an acquisition ends whatever the store does. */
const GUARD = 1_000;
/** ms after which a deadline that fires late shows that the process was busy. */
const LATE = 100;

/** What an acquisition needs of the service. */
export interface AcquisitionHost {
  readonly store: LockStore;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly queues: WaitQueues;
  readonly owners: Owners;
  readonly signals: AbortSignals;
  /** Whether anybody listens to what goes well; where nobody does, no event of it is made. */
  isHeard(): boolean;
  emit(event: LockEvent): void;
  /** It got its lock: from now on it is held. */
  granted(acquisition: Acquisition, owner: string, grant: Grant): HeldLock;
  /** It has ended, either way. */
  left(acquisition: Acquisition): void;
}

type State =
  /** Until its turn comes. */
  | { readonly kind: 'queued' }
  | Asking
  /** Busy: until somebody changes the key, its lease ends, or it is time to look. */
  | { readonly kind: 'sleeping' }
  /** Whether its holder holds it still. */
  | { readonly kind: 'checking' }
  /** Refused for now: until it is time to ask again. */
  | { readonly kind: 'pausing' }
  /** Its time is up: until the store answers another caller of this process, whose answer is its own. */
  | { readonly kind: 'staying on' }
  | { readonly kind: 'ended' };

interface Asking {
  readonly kind: 'asking';
  readonly attempt: Attempt;
  readonly owner: string;
  /** One for each of the sorted keys. */
  readonly questions: readonly Question[];
}

const QUEUED: State = { kind: 'queued' };
const SLEEPING: State = { kind: 'sleeping' };
const PAUSING: State = { kind: 'pausing' };
const STAYING_ON: State = { kind: 'staying on' };
const ENDED: State = { kind: 'ended' };
const NO_QUEUES: readonly WaitQueue[] = [];

/**
 * One caller on its way to a lock: asks the store; where the key is busy, stands in the key's queue and asks again when it is first and
 * something has changed. Of several keys it stands in the queue of the one that was found busy, and then asks for all of them again; standing
 * in all queues at once could wait for somebody who waits for us.
 */
export class Acquisition implements Waiter, Timed {
  /** Among those of the service. */
  index = NO_INDEX;
  ahead: Waiter | undefined = undefined;
  behind: Waiter | undefined = undefined;
  private state: State = QUEUED;
  /** The monotonic instant. */
  readonly askedAt: number;
  readonly sorted: readonly string[];
  /** The queues of the sorted keys, from the start to the end. */
  private queues: readonly WaitQueue[] = NO_QUEUES;
  /** The one in which it stands, or stays on. */
  private queue: WaitQueue | undefined;
  private lastFailure: Busy | Unconfirmed | Unavailable | undefined;
  private pauseTime = FIRST_RETRY_PAUSE;
  /** It was woken by a change of the key, and asks because of that. */
  private wasChanged = false;
  /** The monotonic instants at which the holder was last seen to renew, and at which its lease ends unless it renews. */
  private renewedAt: number | undefined;
  private busyUntil = 0;
  /** The end of `waitTime`, then that of the store's own time. */
  private patience: Deadline | undefined;
  private wasBusy = false;
  private stopClock: (() => void) | undefined;

  constructor(
    readonly keys: readonly string[],
    readonly options: ResolvedOptions,
    /** Asked by work that holds a lock already, and that must be able to end. */
    readonly isNested: boolean,
    /** Who holds one of the keys in the very context that asks. */
    private readonly ownOwner: string | undefined,
    private readonly host: AcquisitionHost,
    private readonly resolve: (lock: HeldLock) => void,
    private readonly reject: (reason: unknown) => void,
  ) {
    this.askedAt = host.clock.monotonic();
    this.sorted = keys.length === 1 ? keys : keys.toSorted();
  }

  start(): void {
    const { signal, waitTime, replicaTimeout } = this.options;
    if (signal?.aborted === true) {
      this.state = ENDED;
      this.host.left(this);
      this.reject(signal.reason);
      return;
    }
    if (signal !== undefined) this.host.signals.add(signal, this);
    this.queues = this.sorted.map((key) => this.host.queues.watch(key));
    const patience = waitTime > 0 ? waitTime : replicaTimeout + GUARD;
    this.patience = this.host.deadlines.add(this.askedAt + patience, this);
    // Without a wait it asks beside the queue; else it stands behind those who asked before.
    const queue =
      this.queues.length === 1 ? this.queues[0] : this.queues.find(({ hasWaiters }) => hasWaiters);
    if (waitTime === 0 || queue === undefined) this.ask();
    else if (this.join(queue)) this.ask();
  }

  /** Ends the waiting with this reason; what was asked is taken back. */
  cancel(reason: unknown): void {
    if (this.state.kind === 'ended') return;
    this.end();
    this.reject(reason);
  }

  /** Whose time is up does not ask once more: its deadline is about to fire, and thousands may expire together. */
  get isReady(): boolean {
    return this.state.kind === 'queued' && !this.isOutOfTime;
  }

  onTurn(): void {
    this.ask();
  }

  onChange(): void {
    if (this.state.kind !== 'sleeping' && this.state.kind !== 'checking') return;
    this.stopClock?.();
    this.wasChanged = true;
    if (this.state.kind === 'sleeping' && this.isRenewalDue && this.lastFailure?.kind === 'busy')
      void this.checkHolder(this.lastFailure, true);
    else this.ask();
  }

  onAnswer(): void {
    if (this.state.kind !== 'staying on') return;
    const answer = this.queue?.lastAnswer;
    const hasFailed =
      answer !== undefined && answer.outcome.kind !== 'busy' && needsAtLeast(this, answer.asker);
    if (this.options.waitTime > 0 || answer?.outcome.kind === 'busy' || hasFailed) this.failAsLast();
    else {
      this.queue = undefined;
      this.ask();
    }
  }

  /** True if nobody stands before it. */
  private join(queue: WaitQueue): boolean {
    this.queue = queue;
    this.state = QUEUED;
    return queue.join(this);
  }

  private ask(): void {
    const { store, owners } = this.host;
    const { leaseTime, replicas, replicaTimeout, waitTime } = this.options;
    const owner = owners.next();
    const questions = this.queues.map((queue) => queue.ask(owner));
    const attempt = store.acquire({
      keys: this.sorted,
      owner,
      leaseTime,
      replicas,
      replicaTimeout,
      waitUntil: this.askedAt + waitTime,
    });
    const asking: Asking = { kind: 'asking', attempt, owner, questions };
    this.state = asking;
    this.queue?.takeTurn(this);
    void attempt.outcome.then((outcome) => {
      if (this.state === asking) this.onOutcome(outcome, asking);
    });
  }

  private onOutcome(outcome: AcquireOutcome, asking: Asking): void {
    const isTakenBack = outcome.kind === 'unconfirmed' || outcome.kind === 'unavailable';
    this.close(asking, isTakenBack);
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
    // Into the caller's hands first: the next in the queue asks only then.
    const lock = this.host.granted(this, owner, grant);
    this.resolve(lock);
    for (const queue of this.queues) {
      if (!queue.isShared) continue;
      const holder = { owner, token: grant.token, remainingTime: lock.remainingTime, inCooldown: false };
      queue.hear(this, { kind: 'busy', key: queue.key, holder });
    }
    this.leaveLine();
    this.leave();
  }

  private onBusy(busy: Busy, asking: Asking): void {
    const index = this.sorted.indexOf(busy.key);
    const queue = this.queues[index]!;
    // An attempt of this process holds nothing before it is granted.
    const isHeld = queue.questions.attemptOf(busy.holder.owner) === undefined;
    const last = this.lastFailure;
    const isSame = last?.kind === 'busy' && last.holder.owner === busy.holder.owner;
    if (!isSame) this.renewedAt = undefined;
    else if (this.wasChanged) this.renewedAt = this.host.clock.monotonic();
    this.wasChanged = false;
    if (isHeld || last === undefined || last.kind === 'busy') this.lastFailure = busy;
    this.pauseTime = FIRST_RETRY_PAUSE;
    if (this.queue !== queue && !this.isOutOfTime) {
      this.queue?.leave(this);
      this.join(queue);
    }
    if (isHeld) this.shareOutcome(busy);
    if (this.queue === queue) queue.yield(this);
    // It may have been cancelled by somebody who was told, or have got its turn in the other queue.
    if (this.state !== asking && this.state.kind !== 'queued') return;
    if (this.isOutOfTime) {
      this.failAsLast();
      return;
    }
    const isFirst = queue.isFirst(this);
    this.busyUntil = this.host.clock.monotonic() + busy.holder.remainingTime;
    if (queue.changes !== asking.questions[index]!.changes) this.ask();
    else if (isFirst) this.sleep(busy);
    else {
      this.state = QUEUED;
      queue.handOn();
    }
  }

  private sleep(busy: Busy): void {
    const { clock, store } = this.host;
    const pollTime =
      (store.hearsChanges ? FALLBACK_POLL_TIME : UNTRACKED_POLL_TIME) * (0.75 + Math.random() / 2);
    const left = Math.max(SHORTEST_SLEEP, this.busyUntil - clock.monotonic() + 1);
    if (pollTime < left && store.hearsChanges)
      this.pauseAs(SLEEPING, pollTime, () => void this.checkHolder(busy, false));
    else this.pauseAs(SLEEPING, Math.min(pollTime, left), () => this.ask());
  }

  /** Whether the holder's next renewal should come about now, if its lease is what is asked for here. */
  private get isRenewalDue(): boolean {
    if (this.renewedAt === undefined) return false;
    const period = renewalPeriodOf(this.options.leaseTime);
    const off = Math.abs(this.host.clock.monotonic() - this.renewedAt - period);
    return off < Math.max(RENEWAL_TOLERANCE, period / 25);
  }

  /** Only whether its holder holds it still: a fifth of the commands of asking for it. A change that leaves it so was a renewal. */
  private async checkHolder(busy: Busy, wasChanged: boolean): Promise<void> {
    const checking: State = { kind: 'checking' };
    this.state = checking;
    const { kind } = await this.host.store.watch({ keys: [busy.key], owner: busy.holder.owner });
    if (this.state !== checking) return;
    if (kind !== 'held') this.ask();
    else {
      if (wasChanged) {
        this.renewedAt = this.host.clock.monotonic();
        this.busyUntil = this.renewedAt + busy.holder.remainingTime;
      }
      this.sleep(busy);
    }
  }

  private onFailure(failure: Unconfirmed | Unavailable, asking: Asking): void {
    this.lastFailure = failure;
    const { keys, options, queue } = this;
    if (failure.kind === 'unconfirmed') {
      const { confirmed, required } = failure;
      this.host.emit({
        type: 'unconfirmed',
        keys,
        label: options.label,
        confirmed,
        required,
        error: new LockNotReplicatedError(keys, failure, confirmTimeOf(this)),
      });
    }
    queue?.fail(this);
    this.shareOutcome(failure);
    // It may have been cancelled by somebody who was told.
    if (this.state !== asking) return;
    if (this.isOutOfTime || this.isInVain(failure)) this.failAsLast();
    else if (queue !== undefined && !queue.isFirst(this)) {
      this.state = QUEUED;
      queue.handOn(true);
    } else {
      this.pauseAs(PAUSING, this.pauseTime * (0.5 + Math.random() / 2), () => this.onPauseEnd());
      this.pauseTime = Math.min(LONGEST_RETRY_PAUSE, this.pauseTime * 2);
      queue?.handOn(true);
    }
  }

  /** Whether waiting cannot help: until somebody mends the configuration, or for longer than there is time. */
  private isInVain(failure: Unconfirmed | Unavailable): boolean {
    if (failure.kind !== 'unavailable') return false;
    const { permanent = false, retryAfter = 0 } = failure;
    return permanent || retryAfter > this.options.waitTime - this.waited;
  }

  private onPauseEnd(): void {
    this.state = QUEUED;
    if (this.queue === undefined) this.ask();
    else this.queue.handOn();
  }

  /** Tells the others who wait for the key what the store said. What only keys of this acquisition have in common says nothing of one of them. */
  private shareOutcome(outcome: SharedOutcome['outcome']): void {
    const own = this.queue ?? (this.queues.length === 1 ? this.queues[0] : undefined);
    // Whoever holds another key says nothing of this one.
    const isOfOther = outcome.kind === 'busy' && outcome.key !== own?.key;
    if (own !== undefined && !isOfOther) own.hear(this, outcome);
    else for (const queue of this.queues) queue.notifyLatecomers();
  }

  /** What was asked is not out any more. */
  private close({ questions }: Asking, isTakenBack: boolean): void {
    this.queues.forEach((queue, index) => queue.questions.close(questions[index]!, isTakenBack));
    this.queue?.endTurn(this);
  }

  private pauseAs(state: State, time: number, onEnd: () => void): void {
    this.state = state;
    this.stopClock = this.host.clock.after(time, onEnd);
  }

  private get isOutOfTime(): boolean {
    return this.waited >= this.options.waitTime;
  }

  private get waited(): number {
    return this.host.clock.monotonic() - this.askedAt;
  }

  /** `waitTime` is over. What has been asked may still be answered, for a while. */
  onDue(): void {
    const { state, queue, options } = this;
    const now = this.host.clock.monotonic();
    if (state.kind === 'asking') {
      if (now < this.latestEnd) this.stayUntil(this.latestEnd);
      else if (now > this.latestEnd + LATE && !this.wasBusy) {
        // The answer may have come while the process was busy: once, it gets the time to read it.
        this.wasBusy = true;
        this.stayUntil(now + GUARD);
      } else {
        if (this.lastFailure === undefined || this.lastFailure.kind === 'busy')
          this.lastFailure = this.silence();
        this.failAsLast();
      }
      return;
    }
    const since = state.kind === 'queued' ? queue?.questions.awaitedSince : undefined;
    const until = since === undefined ? now : Math.max(since + options.replicaTimeout, now + GRACE);
    if (queue !== undefined && until > now) this.stayOn(queue, until);
    else this.failAsLast();
  }

  /** What another caller of this process asked may still be answered: that answer is this acquisition's own. */
  private stayOn(queue: WaitQueue, until: number): void {
    this.stopClock?.();
    this.leaveLine();
    this.queue = queue;
    this.state = STAYING_ON;
    queue.stayOn(this);
    this.stayUntil(until);
  }

  private stayUntil(instant: number): void {
    this.host.deadlines.move(this.patience!, instant);
  }

  /** The instant at which it ends whatever the store does. */
  private get latestEnd(): number {
    const { waitTime, replicaTimeout } = this.options;
    return this.askedAt + waitTime + replicaTimeout + GUARD;
  }

  private failAsLast(): void {
    const { keys, options } = this;
    const { outcome, asker, at } = this.why();
    if (outcome.kind === 'busy') {
      const { holder } = outcome;
      const queue = this.queues[this.sorted.indexOf(outcome.key)]!;
      if (
        queue.questions.attemptOf(holder.owner) === 'open' &&
        this.host.clock.monotonic() < this.latestEnd
      ) {
        this.stayOn(queue, this.latestEnd);
        return;
      }
      const { label, waitTime } = options;
      if (this.host.isHeard())
        this.host.emit({ type: 'contended', keys, label, holder: holder.owner, waited: this.waited });
      const remainingTime = Math.max(0, holder.remainingTime - (this.host.clock.monotonic() - at));
      const isOwn = holder.owner === this.ownOwner;
      this.fail(new LockContendedError(keys, holder.owner, remainingTime, waitTime, isOwn));
    } else if (outcome.kind === 'unconfirmed')
      this.fail(new LockNotReplicatedError(keys, outcome, confirmTimeOf(asker)));
    else this.fail(new LockUnavailableError(keys, outcome));
  }

  /** The last that is known of its keys: its own answer, or a newer one of another kind that a caller in its queue got. */
  private why(): SharedOutcome {
    const { queue, lastFailure: own } = this;
    const now = this.host.clock.monotonic();
    const heard = queue?.lastAnswer;
    const isOther =
      heard !== undefined &&
      (own === undefined ||
        (own.kind === 'busy') !== (heard.outcome.kind === 'busy') ||
        own === heard.outcome);
    const last = isOther ? heard : own && { outcome: own, asker: this, at: now };
    const isUnanswered = queue?.questions.isSilentSince(now - this.options.replicaTimeout) === true;
    if (last === undefined || (last.outcome.kind === 'busy' && isUnanswered))
      return { outcome: this.silence(), asker: this, at: now };
    return last;
  }

  /** No answer came: what the store knows of its masters tells why. */
  private silence(): Unavailable {
    const master = this.host.store.health().masters.find(({ reason }) => reason !== undefined);
    const retryAfter = master?.quarantine === 0 ? undefined : master?.quarantine;
    return {
      kind: 'unavailable',
      reason: master?.reason ?? 'the store did not answer in time.',
      ...(retryAfter !== undefined && { retryAfter }),
    };
  }

  private fail(error: Error): void {
    this.end();
    this.reject(error);
  }

  private end(): void {
    const { state } = this;
    if (state.kind === 'asking') {
      state.attempt.abandon();
      this.close(state, true);
    }
    this.leaveLine();
    this.state = ENDED;
    this.leave();
    if (state.kind === 'asking') for (const queue of this.queues) queue.notifyLatecomers();
  }

  private leaveLine(): void {
    if (this.state.kind === 'staying on') this.queue?.giveUp(this);
    else this.queue?.leave(this);
  }

  private leave(): void {
    this.stopClock?.();
    if (this.patience !== undefined) this.host.deadlines.stop(this.patience);
    const { signal } = this.options;
    if (signal !== undefined) this.host.signals.delete(signal, this);
    for (const queue of this.queues) queue.unwatch();
    this.host.left(this);
  }
}
