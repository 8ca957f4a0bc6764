import type { Clock } from '../store/clock.js';
import type { Deadline, Deadlines, Timed } from '../store/deadlines.js';
import type {
  AcquireOutcome,
  Attempt,
  Busy,
  LockStore,
  Unavailable,
  Unconfirmed,
} from '../store/lock-store.js';
import { NO_PLACE } from '../store/roster.js';
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
import type { Answer, Line, Waiter } from './line.js';
import type { WaitingLines } from './waiting-lines.js';

/** ms between two looks of a waiter that hears of changes; it is told, so this is only for a notice that got lost. */
const FALLBACK_LOOK = 8_000;
/** The same for one that hears of none. */
const DEAF_LOOK = 250;
/** ms that one sleeps at the least: a key that is about to expire is not asked for in a loop. */
const SHORTEST_SLEEP = 10;
/** ms that a renewal may be early or late by, at the least. */
const RENEWAL_TOLERANCE = 50;
/** ms before asking again after a failure: doubled each time. */
const FIRST_PAUSE = 25;
const LONGEST_PAUSE = 1_000;
/** ms beyond `waitTime` that a caller in line waits for an answer to the one before it: the time of both may end in one instant. */
const GRACE = 50;
/** ms beyond `waitTime` and `replicaTimeout` after which an acquisition ends whatever the store does. */
const GUARD = 1_000;
/** ms after which a deadline that fires late shows that the process was busy. */
const LATE = 100;

/** What an acquisition needs of the service. */
export interface AcquisitionKeeper {
  readonly store: LockStore;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly lines: WaitingLines;
  readonly owners: Owners;
  readonly signals: AbortSignals;
  /** Whether anybody listens to what goes well; where nobody does, no event of it is made. */
  isHeard(): boolean;
  tell(event: LockEvent): void;
  /** It got its lock: from now on it is held. */
  granted(acquisition: Acquisition, owner: string, grant: Grant): HeldLock;
  /** It has ended, either way. */
  left(acquisition: Acquisition): void;
}

type State =
  /** Until its turn comes. */
  | { readonly kind: 'in line' }
  | Asking
  /** Busy: until somebody changes the key, its lease ends, or it is time to look. */
  | { readonly kind: 'sleeping' }
  /** Whether its holder holds it still. */
  | { readonly kind: 'looking' }
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

const IN_LINE: State = { kind: 'in line' };
const SLEEPING: State = { kind: 'sleeping' };
const PAUSING: State = { kind: 'pausing' };
const STAYING_ON: State = { kind: 'staying on' };
const ENDED: State = { kind: 'ended' };
const NO_LINES: readonly Line[] = [];

/**
 * One caller on its way to a lock: asks the store; where the key is busy, stands in the key's line and asks again when it is first and
 * something has changed. Of several keys it stands in the line of the one that was found busy, and then asks for all of them again; standing
 * in all lines at once could wait for somebody who waits for us.
 */
export class Acquisition implements Waiter, Timed {
  /** Among those of the service. */
  place = NO_PLACE;
  ahead: Waiter | undefined = undefined;
  behind: Waiter | undefined = undefined;
  private state: State = IN_LINE;
  /** The monotonic instant. */
  readonly askedAt: number;
  readonly sorted: readonly string[];
  /** The lines of the sorted keys, from the start to the end. */
  private lines: readonly Line[] = NO_LINES;
  /** The one in which it stands, or stays on. */
  private line: Line | undefined;
  private lastFailure: Busy | Unconfirmed | Unavailable | undefined;
  private pauseTime = FIRST_PAUSE;
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
    private readonly keeper: AcquisitionKeeper,
    private readonly resolve: (lock: HeldLock) => void,
    private readonly reject: (reason: unknown) => void,
  ) {
    this.askedAt = keeper.clock.monotonic();
    this.sorted = keys.length === 1 ? keys : keys.toSorted();
  }

  start(): void {
    const { signal, waitTime, replicaTimeout } = this.options;
    if (signal?.aborted === true) {
      this.state = ENDED;
      this.keeper.left(this);
      this.reject(signal.reason);
      return;
    }
    if (signal !== undefined) this.keeper.signals.add(signal, this);
    this.lines = this.sorted.map((key) => this.keeper.lines.watch(key));
    const patience = waitTime > 0 ? waitTime : replicaTimeout + GUARD;
    this.patience = this.keeper.deadlines.add(this.askedAt + patience, this);
    // Without a wait it asks beside the line; else it stands behind those who asked before.
    const line = this.lines.length === 1 ? this.lines[0] : this.lines.find(({ hasWaiters }) => hasWaiters);
    if (waitTime === 0 || line === undefined) this.ask();
    else if (this.join(line)) this.ask();
  }

  /** Ends the waiting with this reason; what was asked is taken back. */
  cancel(reason: unknown): void {
    if (this.state.kind === 'ended') return;
    this.end();
    this.reject(reason);
  }

  /** Whose time is up does not ask once more: its deadline is about to fire, and thousands may expire together. */
  get isReady(): boolean {
    return this.state.kind === 'in line' && !this.isOutOfTime;
  }

  onTurn(): void {
    this.ask();
  }

  onChange(): void {
    if (this.state.kind !== 'sleeping' && this.state.kind !== 'looking') return;
    this.stopClock?.();
    this.wasChanged = true;
    if (this.state.kind === 'sleeping' && this.isRenewalDue && this.lastFailure?.kind === 'busy')
      void this.look(this.lastFailure, true);
    else this.ask();
  }

  onAnswer(): void {
    if (this.state.kind !== 'staying on') return;
    const answer = this.line?.lastAnswer;
    const hasFailed =
      answer !== undefined && answer.outcome.kind !== 'busy' && needsAtLeast(this, answer.asker);
    if (this.options.waitTime > 0 || answer?.outcome.kind === 'busy' || hasFailed) this.failAsLast();
    else {
      this.line = undefined;
      this.ask();
    }
  }

  /** True if nobody stands before it. */
  private join(line: Line): boolean {
    this.line = line;
    this.state = IN_LINE;
    return line.join(this);
  }

  private ask(): void {
    const { store, owners } = this.keeper;
    const { leaseTime, replicas, replicaTimeout, waitTime } = this.options;
    const owner = owners.next();
    const questions = this.lines.map((line) => line.ask(owner));
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
    this.line?.takeTurn(this);
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
    // Into the caller's hands first: the next in line asks only then.
    const lock = this.keeper.granted(this, owner, grant);
    this.resolve(lock);
    for (const line of this.lines) {
      if (!line.isShared) continue;
      const holder = { owner, token: grant.token, remainingTime: lock.remainingTime, isKept: false };
      line.hear(this, { kind: 'busy', key: line.key, holder });
    }
    this.leaveLine();
    this.leave();
  }

  private onBusy(busy: Busy, asking: Asking): void {
    const place = this.sorted.indexOf(busy.key);
    const line = this.lines[place]!;
    // An attempt of this process holds nothing before it is granted.
    const isHeld = line.questions.attemptOf(busy.holder.owner) === undefined;
    const last = this.lastFailure;
    const isSame = last?.kind === 'busy' && last.holder.owner === busy.holder.owner;
    if (!isSame) this.renewedAt = undefined;
    else if (this.wasChanged) this.renewedAt = this.keeper.clock.monotonic();
    this.wasChanged = false;
    if (isHeld || last === undefined || last.kind === 'busy') this.lastFailure = busy;
    this.pauseTime = FIRST_PAUSE;
    if (this.line !== line && !this.isOutOfTime) {
      this.line?.leave(this);
      this.join(line);
    }
    if (isHeld) this.tell(busy);
    if (this.line === line) line.yield(this);
    // It may have been cancelled by somebody who was told, or have got its turn in the other line.
    if (this.state !== asking && this.state.kind !== 'in line') return;
    if (this.isOutOfTime) {
      this.failAsLast();
      return;
    }
    const isFirst = line.isFirst(this);
    this.busyUntil = this.keeper.clock.monotonic() + busy.holder.remainingTime;
    if (line.changes !== asking.questions[place]!.changes) this.ask();
    else if (isFirst) this.sleep(busy);
    else {
      this.state = IN_LINE;
      line.handOn();
    }
  }

  private sleep(busy: Busy): void {
    const { clock, store } = this.keeper;
    const look = (store.hearsChanges ? FALLBACK_LOOK : DEAF_LOOK) * (0.75 + Math.random() / 2);
    const left = Math.max(SHORTEST_SLEEP, this.busyUntil - clock.monotonic() + 1);
    if (look < left && store.hearsChanges) this.pauseAs(SLEEPING, look, () => void this.look(busy, false));
    else this.pauseAs(SLEEPING, Math.min(look, left), () => this.ask());
  }

  /** Whether the holder's next renewal should come about now, if its lease is what is asked for here. */
  private get isRenewalDue(): boolean {
    if (this.renewedAt === undefined) return false;
    const period = renewalPeriodOf(this.options.leaseTime);
    const off = Math.abs(this.keeper.clock.monotonic() - this.renewedAt - period);
    return off < Math.max(RENEWAL_TOLERANCE, period / 25);
  }

  /** Only whether its holder holds it still: a fifth of the commands of asking for it. A change that leaves it so was a renewal. */
  private async look(busy: Busy, wasChanged: boolean): Promise<void> {
    const looking: State = { kind: 'looking' };
    this.state = looking;
    const { kind } = await this.keeper.store.watch({ keys: [busy.key], owner: busy.holder.owner });
    if (this.state !== looking) return;
    if (kind !== 'held') this.ask();
    else {
      if (wasChanged) {
        this.renewedAt = this.keeper.clock.monotonic();
        this.busyUntil = this.renewedAt + busy.holder.remainingTime;
      }
      this.sleep(busy);
    }
  }

  private onFailure(failure: Unconfirmed | Unavailable, asking: Asking): void {
    this.lastFailure = failure;
    const { keys, options, line } = this;
    if (failure.kind === 'unconfirmed') {
      const { confirmed, required } = failure;
      this.keeper.tell({
        type: 'unconfirmed',
        keys,
        label: options.label,
        confirmed,
        required,
        error: new LockNotReplicatedError(keys, failure, confirmTimeOf(this)),
      });
    }
    line?.fail(this);
    this.tell(failure);
    // It may have been cancelled by somebody who was told.
    if (this.state !== asking) return;
    if (this.isOutOfTime || this.isInVain(failure)) this.failAsLast();
    else if (line !== undefined && !line.isFirst(this)) {
      this.state = IN_LINE;
      line.handOn(true);
    } else {
      this.pauseAs(PAUSING, this.pauseTime * (0.5 + Math.random() / 2), () => this.onPauseEnd());
      this.pauseTime = Math.min(LONGEST_PAUSE, this.pauseTime * 2);
      line?.handOn(true);
    }
  }

  /** Whether waiting cannot help: until somebody mends the configuration, or for longer than there is time. */
  private isInVain(failure: Unconfirmed | Unavailable): boolean {
    if (failure.kind !== 'unavailable') return false;
    const { permanent = false, retryAfter = 0 } = failure;
    return permanent || retryAfter > this.options.waitTime - this.waited;
  }

  private onPauseEnd(): void {
    this.state = IN_LINE;
    if (this.line === undefined) this.ask();
    else this.line.handOn();
  }

  /** Tells the others who wait for the key what the store said. What only keys of this acquisition have in common says nothing of one of them. */
  private tell(outcome: Answer['outcome']): void {
    const own = this.line ?? (this.lines.length === 1 ? this.lines[0] : undefined);
    // Whoever holds another key says nothing of this one.
    const isOfOther = outcome.kind === 'busy' && outcome.key !== own?.key;
    if (own !== undefined && !isOfOther) own.hear(this, outcome);
    else for (const line of this.lines) line.tellLatecomers();
  }

  /** What was asked is not out any more. */
  private close({ questions }: Asking, isTakenBack: boolean): void {
    this.lines.forEach((line, place) => line.questions.close(questions[place]!, isTakenBack));
    this.line?.endTurn(this);
  }

  private pauseAs(state: State, time: number, onEnd: () => void): void {
    this.state = state;
    this.stopClock = this.keeper.clock.after(time, onEnd);
  }

  private get isOutOfTime(): boolean {
    return this.waited >= this.options.waitTime;
  }

  private get waited(): number {
    return this.keeper.clock.monotonic() - this.askedAt;
  }

  /** `waitTime` is over. What has been asked may still be answered, for a while. */
  onDue(): void {
    const { state, line, options } = this;
    const now = this.keeper.clock.monotonic();
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
    const since = state.kind === 'in line' ? line?.questions.awaitedSince : undefined;
    const until = since === undefined ? now : Math.max(since + options.replicaTimeout, now + GRACE);
    if (line !== undefined && until > now) this.stayOn(line, until);
    else this.failAsLast();
  }

  /** What another caller of this process asked may still be answered: that answer is this acquisition's own. */
  private stayOn(line: Line, until: number): void {
    this.stopClock?.();
    this.leaveLine();
    this.line = line;
    this.state = STAYING_ON;
    line.stayOn(this);
    this.stayUntil(until);
  }

  private stayUntil(instant: number): void {
    this.keeper.deadlines.move(this.patience!, instant);
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
      const line = this.lines[this.sorted.indexOf(outcome.key)]!;
      if (
        line.questions.attemptOf(holder.owner) === 'open' &&
        this.keeper.clock.monotonic() < this.latestEnd
      ) {
        this.stayOn(line, this.latestEnd);
        return;
      }
      const { label, waitTime } = options;
      if (this.keeper.isHeard())
        this.keeper.tell({ type: 'contended', keys, label, holder: holder.owner, waited: this.waited });
      const remainingTime = Math.max(0, holder.remainingTime - (this.keeper.clock.monotonic() - at));
      const isOwn = holder.owner === this.ownOwner;
      this.fail(new LockContendedError(keys, holder.owner, remainingTime, waitTime, isOwn));
    } else if (outcome.kind === 'unconfirmed')
      this.fail(new LockNotReplicatedError(keys, outcome, confirmTimeOf(asker)));
    else this.fail(new LockUnavailableError(keys, outcome));
  }

  /** The last that is known of its keys: its own answer, or a newer one of another kind that a caller in its line got. */
  private why(): Answer {
    const { line, lastFailure: own } = this;
    const now = this.keeper.clock.monotonic();
    const heard = line?.lastAnswer;
    const isOther =
      heard !== undefined &&
      (own === undefined ||
        (own.kind === 'busy') !== (heard.outcome.kind === 'busy') ||
        own === heard.outcome);
    const last = isOther ? heard : own && { outcome: own, asker: this, at: now };
    const isUnanswered = line?.questions.isSilentSince(now - this.options.replicaTimeout) === true;
    if (last === undefined || (last.outcome.kind === 'busy' && isUnanswered))
      return { outcome: this.silence(), asker: this, at: now };
    return last;
  }

  /** No answer came: what the store knows of its masters tells why. */
  private silence(): Unavailable {
    const master = this.keeper.store.health().masters.find(({ reason }) => reason !== undefined);
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
    if (state.kind === 'asking') for (const line of this.lines) line.tellLatecomers();
  }

  private leaveLine(): void {
    if (this.state.kind === 'staying on') this.line?.giveUp(this);
    else this.line?.leave(this);
  }

  private leave(): void {
    this.stopClock?.();
    if (this.patience !== undefined) this.keeper.deadlines.stop(this.patience);
    const { signal } = this.options;
    if (signal !== undefined) this.keeper.signals.delete(signal, this);
    for (const line of this.lines) line.unwatch();
    this.keeper.left(this);
  }
}
