import { concat, defer, EMPTY, of, Subject, type Observable } from 'rxjs';
import type { Clock } from '../common/clock.js';
import type { StoreReport } from '../store/lock-store.js';
import { completionOf } from './completion.js';
import type { CheckedElectOptions } from './election-options.js';
import {
  isAbort,
  KEEPS_RESULT,
  OVERDUE_TIME,
  refused,
  resumed,
  workEnded,
  workFailed,
  workOverdue,
} from './election-reports.js';
import type { EnteredLock } from './entered-lock.js';
import { thrownText } from './error-texts.js';
import { LockContendedError, LockServiceClosedError, ReplicaLockError } from './errors.js';
import { listenerFailed, type LockEvent } from './events.js';
import { GuardedObservable } from './guarded-observable.js';
import type { HeldLock } from './held-lock.js';
import type { LockContext } from './lock-context.js';
import type { LockInfo } from './lock-info.js';
import type { Lock } from './lock.js';
import { Term } from './term.js';

/** A change of the leadership of this process. */
export interface ElectionChange {
  /**
   * - `elected`: this process leads from now on.
   * - `deposed`: this process has lost the leadership without wanting to.
   * - `resigned`: this process has given the leadership back.
   */
  readonly type: 'elected' | 'deposed' | 'resigned';
  /** The lock of the term. The fencing token is the number of the term. */
  readonly term: Lock;
}

/** What an election needs of its service. */
export interface ElectionHost {
  readonly clock: Clock;
  readonly context: LockContext;
  /**
   * Takes the lock. Resolves to undefined if the key keeps a result of `once`. `onWaiting` receives
   * the function that ends the waiting.
   */
  take(
    key: string,
    options: CheckedElectOptions['lock'],
    onWaiting: (cancel: (reason: unknown) => void) => void,
  ): Promise<HeldLock | undefined>;
  inspect(key: string): Promise<LockInfo | null>;
  emit(event: LockEvent): void;
  report(report: StoreReport): void;
  /** The election and its long-lived work are over: the next election need not wait for them. */
  ended(election: LockElection): void;
}

type State =
  | { readonly kind: 'standing'; cancel: (reason: unknown) => void }
  | { readonly kind: 'leading'; readonly term: Term }
  | { readonly kind: 'pausing'; readonly wake: () => void }
  | { readonly kind: 'over' };

/**
 * This process in the election of one leader among all copies of the application. The process
 * stands for election until `resign`, or until the application shuts down.
 *
 * A leader holds the lock on the election's key, with everything that a lock promises: at most one
 * leader through fail-overs, a deadline by the clocks, a fencing token for each term.
 */
export class LockElection {
  private state: State = { kind: 'standing', cancel: () => {} };
  private readonly changed = new Subject<ElectionChange>();
  private readonly standing: Promise<void>;
  /** The codes of the refusals that were reported, until this process can stand again. */
  private readonly refusals = new Set<string>();
  private hasReportedEnd = false;
  private isResigning = false;
  private isRunning = false;
  /** The long-lived work that runs; resolves, and never rejects. */
  private serving: Promise<void> | undefined;
  /** Called at the start of a term, and at the end of the election. */
  private onTerm: () => void = () => {};

  /**
   * The changes of this process. Begins with `elected` if this process leads now. Completes when
   * the process does not stand any more.
   */
  readonly changes: Observable<ElectionChange> = new GuardedObservable<ElectionChange>(
    defer(() => {
      const { term } = this;
      return concat(term === undefined ? EMPTY : of({ type: 'elected' as const, term }), this.changed);
    }),
    (error, hasEnded) =>
      this.host.report(
        listenerFailed(
          `A subscriber of the changes of the election '${this.key}'`,
          error,
          hasEnded ? 'its subscription has ended.' : 'the subscriber receives what follows.',
        ),
      ),
  );

  /** @internal */
  constructor(
    readonly key: string,
    private readonly options: CheckedElectOptions,
    private readonly host: ElectionHost,
    /** An election of the same key that ends. This one begins after that end and that work. */
    predecessor?: LockElection,
  ) {
    // The process stands whatever becomes of the call that asked for the election.
    this.standing = host.context.outside(() => this.stand(predecessor?.finished));
  }

  /** True if this process certainly leads now, by the clocks. Costs no round trip. */
  get isLeader(): boolean {
    return this.term !== undefined;
  }

  /** The lock of the present term; undefined if this process does not lead now. */
  get term(): Lock | undefined {
    return this.state.kind === 'leading' && this.state.term.lock.held ? this.state.term.lock : undefined;
  }

  /**
   * Who leads, here or elsewhere; null if there is no leader now. Asks the master.
   *
   * @throws as `LockService.inspect`.
   */
  async leader(): Promise<LockInfo | null> {
    const holder = await this.host.inspect(this.key);
    return holder?.kept === undefined ? holder : null;
  }

  /**
   * Runs `work` if this process leads, and resolves with its result; undefined if another process
   * leads, or none. Costs no round trip. A resignation waits for the end of the work. While it
   * waits, only calls inside that work run.
   *
   * An Observable that the work returns is subscribed to, and the call resolves with its last
   * value. An async generator is run to its end, and the call resolves with its return value.
   *
   * @throws `LockLostError` if the term ends before the work does. The error of the work is then
   *   its `cause`.
   * @throws the error of the work.
   */
  runIfLeader<T>(work: (term: Lock) => Observable<T>): Promise<T | undefined>;
  runIfLeader<T>(work: (term: Lock) => AsyncGenerator<unknown, T>): Promise<T | undefined>;
  runIfLeader<T>(work: (term: Lock) => T | Promise<T>): Promise<T | undefined>;
  async runIfLeader(work: (term: Lock) => unknown): Promise<unknown> {
    demandFunction('runIfLeader', work);
    const term = this.workTerm;
    return term?.run(() => completionOf(work(term.lock)));
  }

  /**
   * Runs `work` at the start of each term, for work that lasts as long as the term. The signal of
   * the term aborts if the leadership is lost or given back; the work must then end. If the work
   * ends or fails by itself, this process gives the leadership back, pauses for `retryTime`, and
   * stands again. If the leadership was lost, this process stands again when the work has ended. A
   * failure is reported to the log. Resolves when the election is over: work of a term that awaits
   * this call waits for itself.
   *
   * An Observable that the work returns is subscribed to and an async generator is run, until
   * their end or until the signal aborts.
   *
   * @throws `Error` if work of an earlier call still runs: an election has one long-lived work.
   */
  async run(work: (term: Lock) => unknown): Promise<void> {
    demandFunction('run', work);
    if (this.isRunning)
      throw new Error(
        `The election '${this.key}' already runs long-lived work: give the other work a key of its own.`,
      );
    this.isRunning = true;
    try {
      for (let term = await this.nextTerm(); term !== undefined; term = await this.nextTerm())
        await this.serve(term, work);
    } finally {
      this.isRunning = false;
    }
  }

  /**
   * Gives the leadership back. Waits for the work of the term, whose lock is renewed meanwhile.
   * Inside that work the call returns at once, and the leadership ends after the work. This process
   * then stands again only if `LockService.elect` is called with the key: no method with
   * `@LeaderOnly` does so.
   */
  async resign(): Promise<void> {
    this.isResigning = true;
    const { state } = this;
    if (state.kind === 'standing') state.cancel(new LockServiceClosedError([this.key]));
    if (state.kind === 'pausing') state.wake();
    if (state.kind === 'leading') {
      const resigned = state.term.resign();
      if (state.term.isInside) return;
      await resigned;
    }
    await this.standing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.resign();
  }

  /** True from the call of `resign` on. @internal */
  get isEnding(): boolean {
    return this.isResigning || this.state.kind === 'over';
  }

  /**
   * Puts work under the lock of the term. Undefined if this process does not lead. For decorators.
   *
   * @internal
   */
  enter(): EnteredLock | undefined {
    return this.workTerm?.enter();
  }

  /** The term for a new piece of work. Work of a term may have further work done as it ends. */
  private get workTerm(): Term | undefined {
    return Term.around(this.host.context, this.key) ?? this.openTerm;
  }

  private get openTerm(): Term | undefined {
    return this.state.kind === 'leading' && this.state.term.isOpen ? this.state.term : undefined;
  }

  /**
   * Resolves when this process stands no more and the long-lived work has ended. After a lost term
   * the work may go on for longer than the election.
   */
  private get finished(): Promise<void> {
    return this.standing.then(() => this.serving);
  }

  /** Stands, leads and stands again until this process resigns. */
  private async stand(predecessor: Promise<void> | undefined): Promise<void> {
    if (predecessor !== undefined) await this.idle((resume) => void predecessor.then(resume));
    while (!this.isResigning) {
      let lock: HeldLock | undefined;
      try {
        lock = await this.take();
      } catch (error) {
        if (error instanceof LockServiceClosedError) break;
        // Only an attempt after a refusal does not wait: another process leads, and all is well.
        if (error instanceof LockContendedError) this.onAccepted();
        else {
          this.onError(error);
          await this.pause();
        }
        continue;
      }
      if (lock === undefined) {
        this.onRefused('kept', KEEPS_RESULT);
        await this.pause();
        continue;
      }
      this.onAccepted();
      await this.lead(lock);
    }
    this.state = { kind: 'over' };
    const { serving } = this;
    if (serving === undefined) this.host.ended(this);
    else void serving.then(() => this.host.ended(this));
    this.onTerm();
    this.changed.complete();
  }

  private take(): Promise<HeldLock | undefined> {
    this.state = { kind: 'standing', cancel: () => {} };
    const waitTime = this.refusals.size > 0 ? 0 : Infinity;
    return this.host.take(this.key, { ...this.options.lock, waitTime }, (cancel) => {
      if (this.state.kind === 'standing') this.state.cancel = cancel;
      if (this.isResigning) cancel(new LockServiceClosedError([this.key]));
    });
  }

  /** An operator must act: the key holds a foreign value, the server may evict locks, NOPERM. */
  private onError(error: unknown): void {
    if (error instanceof ReplicaLockError) this.onRefused(error.code, error.message);
    else this.onRefused('unexpected', thrownText(error));
  }

  private onRefused(code: string, why: string): void {
    if (this.refusals.has(code)) return;
    this.refusals.add(code);
    this.host.report(refused(this.key, this.options.retryTime, why));
  }

  private onAccepted(): void {
    if (this.refusals.size === 0) return;
    this.refusals.clear();
    this.host.report(resumed(this.key));
  }

  private async lead(lock: HeldLock): Promise<void> {
    const term = new Term(lock, this.host.context);
    const startedAt = this.host.clock.monotonic();
    this.state = { kind: 'leading', term };
    this.tell('elected', lock, startedAt);
    this.onTerm();
    if (this.isResigning) void term.resign();
    await term.ended;
    this.tell(lock.loss === undefined ? 'resigned' : 'deposed', lock, startedAt);
    if (this.serving !== undefined) await this.waitForWork(this.serving);
    if (lock.loss === undefined) await this.pause();
  }

  /** A process whose old work still runs would lead and not do the work of the new term. */
  private async waitForWork(serving: Promise<void>): Promise<void> {
    const stopTimer = this.host.clock.after(OVERDUE_TIME, () => this.host.report(workOverdue(this.key)));
    await this.idle((resume) => void serving.then(resume));
    stopTimer();
  }

  private tell(type: ElectionChange['type'], lock: HeldLock, startedAt: number): void {
    const { keys, owner, fencingToken } = lock;
    const label = this.options.lock.label;
    const led = this.host.clock.monotonic() - startedAt;
    // First: a listener of events that subscribes gets the present leadership at once.
    this.changed.next({ type, term: lock });
    this.host.emit({ type, keys, label, owner, fencingToken, led });
  }

  private async pause(): Promise<void> {
    const time = this.options.retryTime * (0.5 + Math.random() / 2);
    let stopTimer: (() => void) | undefined;
    await this.idle((resume) => (stopTimer = this.host.clock.after(time, resume)));
    stopTimer?.();
  }

  /** Waits until `start` calls its argument, or until a resignation. */
  private async idle(start: (resume: () => void) => void): Promise<void> {
    if (this.isResigning) return;
    await new Promise<void>((wake) => {
      this.state = { kind: 'pausing', wake };
      start(wake);
    });
  }

  /** The present term, or the next; undefined if there will be none. */
  private async nextTerm(): Promise<Term | undefined> {
    while (this.state.kind !== 'over') {
      const term = this.openTerm;
      if (term !== undefined) return term;
      await new Promise<void>((resolve) => (this.onTerm = resolve));
    }
    return undefined;
  }

  private async serve(term: Term, work: (term: Lock) => unknown): Promise<void> {
    // The process may have begun to resign since the term was elected.
    if (!term.isOpen) return;
    const { longLived } = term;
    const { signal } = longLived;
    this.serving = term
      .run(async () => {
        try {
          const startedAt = this.host.clock.monotonic();
          await completionOf(work(longLived), signal);
          if (!signal.aborted) this.onWorkEnded(this.host.clock.monotonic() - startedAt);
        } catch (error) {
          if (!signal.aborted)
            this.host.report(workFailed(this.key, 'so this process gives the leadership back', error));
          else if (!isAbort(error, longLived))
            this.host.report(workFailed(this.key, 'as it ended with its term', error));
        }
      })
      // The lock reports its own loss.
      .catch(() => {});
    await this.serving;
    this.serving = undefined;
    await term.resign();
  }

  private onWorkEnded(after: number): void {
    if (this.hasReportedEnd || after >= this.options.retryTime) return;
    this.hasReportedEnd = true;
    this.host.report(workEnded(this.key, after));
  }
}

function demandFunction(method: string, work: unknown): void {
  if (typeof work !== 'function') throw new TypeError(`${method} needs the work of the leader: a function`);
}
