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
import {
  LockContendedError,
  LockKeyError,
  LockNotReplicatedError,
  LockOptionsError,
  LockUnavailableError,
} from './errors.js';
import type { LockEvent } from './events.js';
import type { Grant, HeldLock } from './held-lock.js';
import type { ResolvedOptions } from './options.js';
import type { Owners } from './owners.js';
import { renewalPeriodOf } from './renewals.js';
import type { Line, Waiter, WaitingLines } from './waiting-lines.js';

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
  /** Whether anybody listens to what goes well; where nobody does, no event of it is made. */
  isHeard(): boolean;
  tell(event: LockEvent): void;
  /** It got its lock: from now on it is held. */
  granted(acquisition: Acquisition, owner: string, grant: Grant): HeldLock;
  /** It has ended, either way. */
  left(acquisition: Acquisition): void;
}

type State =
  /** Somebody of this process stands before it. */
  | { readonly kind: 'in line' }
  | {
      readonly kind: 'asking';
      readonly attempt: Attempt;
      readonly owner: string;
      readonly changes: readonly number[];
    }
  /** Busy: until somebody changes the key, its lease ends, or it is time to look. */
  | { readonly kind: 'sleeping' }
  /** Whether its holder holds it still. */
  | { readonly kind: 'looking' }
  /** Refused for now: until it is time to ask again. */
  | { readonly kind: 'pausing' }
  | { readonly kind: 'ended' };

const IN_LINE: State = { kind: 'in line' };
const SLEEPING: State = { kind: 'sleeping' };
const PAUSING: State = { kind: 'pausing' };
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
  private readonly sorted: readonly string[];
  /** The lines of the sorted keys, from the start to the end. */
  private lines: readonly Line[] = NO_LINES;
  /** The one in which it stands. */
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
  private onAbort: (() => void) | undefined;

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
    if (signal !== undefined) {
      this.onAbort = (): void => this.cancel(signal.reason);
      signal.addEventListener('abort', this.onAbort, { once: true });
    }
    this.lines = this.sorted.map((key) => this.keeper.lines.watch(key));
    const patience = waitTime > 0 ? waitTime : replicaTimeout + GUARD;
    this.patience = this.keeper.deadlines.add(this.askedAt + patience, this);
    // Without a wait it asks beside the line; else it stands behind those who asked before.
    const line = this.lines.length === 1 ? this.lines[0] : this.lines.find(({ hasWaiters }) => hasWaiters);
    if (waitTime > 0 && line !== undefined) this.join(line);
    else this.ask();
  }

  /** Ends the waiting with this reason; what was asked is taken back. */
  cancel(reason: unknown): void {
    if (this.state.kind === 'ended') return;
    this.end();
    this.reject(reason);
  }

  onTurn(): void {
    // Whose time is up will be told so in a moment: of many who time out together none asks once more.
    if (this.state.kind === 'in line' && !this.isOutOfTime) this.ask();
  }

  onChange(): void {
    if (this.state.kind !== 'sleeping' && this.state.kind !== 'looking') return;
    this.stopClock?.();
    this.wasChanged = true;
    if (this.state.kind === 'sleeping' && this.isRenewalDue && this.lastFailure?.kind === 'busy')
      void this.look(this.lastFailure, true);
    else this.ask();
  }

  private join(line: Line): void {
    this.line = line;
    this.state = IN_LINE;
    if (line.join(this)) this.ask();
  }

  private ask(): void {
    const { store, owners } = this.keeper;
    const { leaseTime, replicas, replicaTimeout, waitTime } = this.options;
    const owner = owners.next();
    // Counted before the question leaves: a notice may overtake the answer that armed it.
    const changes = this.lines.map((line) => line.changes);
    const attempt = store.acquire({
      keys: this.sorted,
      owner,
      leaseTime,
      replicas,
      replicaTimeout,
      waitUntil: this.askedAt + waitTime,
    });
    this.state = { kind: 'asking', attempt, owner, changes };
    void attempt.outcome.then((outcome) => {
      if (this.state.kind === 'asking' && this.state.attempt === attempt)
        this.onOutcome(outcome, owner, changes);
    });
  }

  private onOutcome(outcome: AcquireOutcome, owner: string, changes: readonly number[]): void {
    switch (outcome.kind) {
      case 'granted':
        this.state = ENDED;
        // Into the caller's hands first: the next in line asks only then.
        this.resolve(this.keeper.granted(this, owner, outcome));
        this.leave();
        break;
      case 'busy':
        this.onBusy(outcome, changes);
        break;
      case 'unconfirmed':
      case 'unavailable':
        this.onFailure(outcome);
        break;
      case 'foreign':
        this.fail(LockKeyError.foreign(this.keys, outcome));
        break;
      case 'misconfigured':
        this.fail(LockOptionsError.ofServer(this.keys, outcome));
    }
  }

  private onBusy(busy: Busy, changes: readonly number[]): void {
    const last = this.lastFailure;
    const isSame = last?.kind === 'busy' && last.holder.owner === busy.holder.owner;
    if (!isSame) this.renewedAt = undefined;
    else if (this.wasChanged) this.renewedAt = this.keeper.clock.monotonic();
    this.wasChanged = false;
    this.lastFailure = busy;
    this.pauseTime = FIRST_PAUSE;
    if (this.isOutOfTime) {
      this.failAsLast();
      return;
    }
    const place = this.sorted.indexOf(busy.key);
    const line = this.lines[place]!;
    if (this.line !== line) {
      const before = this.line;
      this.line = line;
      this.state = IN_LINE;
      before?.leave(this);
      if (!line.join(this)) return;
    }
    this.busyUntil = this.keeper.clock.monotonic() + busy.holder.remainingTime;
    if (line.changes !== changes[place]) this.ask();
    else this.sleep(busy);
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

  private onFailure(failure: Unconfirmed | Unavailable): void {
    this.lastFailure = failure;
    if (failure.kind === 'unconfirmed') {
      const { confirmed, required } = failure;
      const { keys, options } = this;
      this.keeper.tell({
        type: 'unconfirmed',
        keys,
        label: options.label,
        confirmed,
        required,
        error: new LockNotReplicatedError(keys, failure, options.replicaTimeout),
      });
    }
    if (this.isOutOfTime || (failure.kind === 'unavailable' && failure.permanent === true)) {
      this.failAsLast();
      return;
    }
    this.pauseAs(PAUSING, this.pauseTime * (0.5 + Math.random() / 2), () => this.ask());
    this.pauseTime = Math.min(LONGEST_PAUSE, this.pauseTime * 2);
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
    const { waitTime, replicaTimeout } = this.options;
    const end = this.askedAt + waitTime + replicaTimeout + GUARD;
    const now = this.keeper.clock.monotonic();
    if (this.state.kind === 'asking' && now < end) {
      this.patience = this.keeper.deadlines.add(end, this);
      return;
    }
    if (this.state.kind === 'asking' && now > end + LATE && !this.wasBusy) {
      // The answer may have come while the process was busy: once, it gets the time to read it.
      this.wasBusy = true;
      this.patience = this.keeper.deadlines.add(now + GUARD, this);
      return;
    }
    if (this.state.kind === 'asking')
      this.lastFailure ??= { kind: 'unavailable', reason: 'the store did not answer in time.' };
    this.failAsLast();
  }

  private failAsLast(): void {
    const { keys, lastFailure: last, options } = this;
    if (last === undefined || last.kind === 'busy') {
      const holder = last?.holder;
      const { label } = options;
      if (this.keeper.isHeard())
        this.keeper.tell({ type: 'contended', keys, label, holder: holder?.owner, waited: this.waited });
      const isOwn = holder !== undefined && holder.owner === this.ownOwner;
      this.fail(
        new LockContendedError(keys, holder?.owner, holder?.remainingTime ?? 0, options.waitTime, isOwn),
      );
    } else if (last.kind === 'unconfirmed')
      this.fail(new LockNotReplicatedError(keys, last, options.replicaTimeout));
    else this.fail(new LockUnavailableError(keys, last));
  }

  private fail(error: Error): void {
    this.end();
    this.reject(error);
  }

  private end(): void {
    const { state } = this;
    this.state = ENDED;
    if (state.kind === 'asking') state.attempt.abandon();
    this.leave();
  }

  private leave(): void {
    this.stopClock?.();
    if (this.patience !== undefined) this.keeper.deadlines.stop(this.patience);
    if (this.onAbort !== undefined) this.options.signal?.removeEventListener('abort', this.onAbort);
    this.line?.leave(this);
    for (const line of this.lines) line.unwatch();
    this.keeper.left(this);
  }
}
