import { concat, defer, EMPTY, of, Subject, type Observable } from 'rxjs';
import type { Clock } from '../common/clock.js';
import type { StoreReport } from '../store/lock-store.js';
import type { CheckedElectOptions } from './election-options.js';
import { LockKeyError, LockOptionsError, LockServiceClosedError } from './errors.js';
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
  /** Takes the lock. `onWaiting` receives the function that ends the waiting. */
  take(
    key: string,
    options: CheckedElectOptions['lock'],
    onWaiting: (cancel: (reason: unknown) => void) => void,
  ): Promise<HeldLock>;
  inspect(key: string): Promise<LockInfo | null>;
  emit(event: LockEvent): void;
  report(report: StoreReport): void;
  /** The election is over: a later call of `elect` begins another one. */
  ended(election: LockElection): void;
}

type State =
  | { readonly kind: 'standing'; cancel: (reason: unknown) => void }
  | { readonly kind: 'leading'; readonly term: Term }
  | { readonly kind: 'pausing'; readonly wake: () => void }
  | { readonly kind: 'over'; readonly failure: Error | undefined };

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
  private isResigning = false;
  private isRunning = false;
  /** Called at the start of a term, and at the end of the election. */
  private onTerm: () => void = () => {};

  /**
   * The changes of this process. Begins with `elected` if this process leads now. Completes when
   * the process does not stand any more, and errors if the election ended with an error.
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
  ) {
    // The process stands whatever becomes of the call that asked for the election.
    this.standing = host.context.outside(() => this.stand());
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
  leader(): Promise<LockInfo | null> {
    return this.host.inspect(this.key);
  }

  /**
   * Runs `work` if this process leads, and resolves with its result; undefined if another process
   * leads, or none. Costs no round trip. A resignation waits for the end of the work.
   *
   * @throws `LockLostError` if the term ends before the work does. The error of the work is then
   *   its `cause`.
   * @throws the error of the work.
   */
  async runIfLeader<T>(work: (term: Lock) => T | Promise<T>): Promise<T | undefined> {
    const term = this.openTerm;
    return term?.run(() => work(term.lock));
  }

  /**
   * Runs `work` at the start of each term, for work that lasts as long as the term. The signal of
   * the term aborts if the leadership is lost or given back; the work must then end. If the work
   * ends or fails by itself, this process gives the leadership back, pauses for `retryTime`, and
   * stands again. A failure is reported to the log. Resolves when the election is over.
   *
   * @throws `Error` if work of an earlier call still runs: an election has one long-lived work.
   * @throws `LockKeyError` or `LockOptionsError` if the election ended with that error.
   */
  async run(work: (term: Lock) => unknown): Promise<void> {
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
    if (this.state.kind === 'over' && this.state.failure !== undefined) throw this.state.failure;
  }

  /**
   * Gives the leadership back and does not stand again. Waits for the work of the term, whose lock
   * is renewed meanwhile. Inside that work the call returns at once, and the leadership ends after
   * the work.
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

  private get openTerm(): Term | undefined {
    return this.state.kind === 'leading' && this.state.term.isOpen ? this.state.term : undefined;
  }

  /** Stands, leads and stands again until the election is over. */
  private async stand(): Promise<void> {
    let failure: Error | undefined;
    while (!this.isResigning && failure === undefined) {
      try {
        this.state = { kind: 'standing', cancel: () => {} };
        const lock = await this.host.take(this.key, this.options.lock, (cancel) => {
          if (this.state.kind === 'standing') this.state.cancel = cancel;
          if (this.isResigning) cancel(new LockServiceClosedError([this.key]));
        });
        await this.lead(lock);
      } catch (error) {
        if (error instanceof LockServiceClosedError) break;
        if (error instanceof LockKeyError || error instanceof LockOptionsError) failure = error;
        else await this.pause();
      }
    }
    this.state = { kind: 'over', failure };
    this.host.ended(this);
    this.onTerm();
    if (failure === undefined) this.changed.complete();
    else {
      const message = `This process does not stand for the election '${this.key}' any more: ${failure.message}`;
      this.host.report({ level: 'error', code: 'election-ended', message });
      this.changed.error(failure);
    }
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
    if (lock.loss === undefined) await this.pause();
  }

  private tell(type: ElectionChange['type'], lock: HeldLock, startedAt: number): void {
    const { keys, owner, fencingToken } = lock;
    const label = this.options.lock.label;
    const led = this.host.clock.monotonic() - startedAt;
    this.host.emit({ type, keys, label, owner, fencingToken, led });
    this.changed.next({ type, term: lock });
  }

  private async pause(): Promise<void> {
    if (this.isResigning) return;
    const time = this.options.retryTime * (0.5 + Math.random() / 2);
    await new Promise<void>((resolve) => {
      const stopTimer = this.host.clock.after(time, resolve);
      this.state = {
        kind: 'pausing',
        wake: () => {
          stopTimer();
          resolve();
        },
      };
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
    try {
      await term.run(() => work(term.longLived));
    } catch (error) {
      // The lock reports its own loss. After an abort the work may reject with the signal's reason.
      if (term.isOpen) this.host.report(workFailed(this.key, error));
    }
    await term.resign();
  }
}

function workFailed(key: string, error: unknown): StoreReport {
  const what = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  const message = `The work of the leader of '${key}' failed, so this process gives the leadership back and stands again: ${what}`;
  return { level: 'error', code: 'election-work-failed', message };
}
