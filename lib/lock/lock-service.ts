import { merge, Subject, type Observable, type Subscription } from 'rxjs';
import { systemClock, type Clock } from '../common/clock.js';
import { Deadlines } from '../common/deadlines.js';
import {
  concerns,
  type KeyChange,
  type LockStore,
  type StoreHealth,
  type StoreReport,
} from '../store/lock-store.js';
import { IntrusiveSet } from '../common/intrusive-set.js';
import { AbortSignals } from './abort-signals.js';
import {
  listenerFailed,
  reportOf,
  type AcquisitionEnd,
  type AcquisitionObserver,
  type LockEvent,
} from './events.js';
import { Acquisition, type AcquisitionHost } from './acquisition.js';
import {
  LockContendedError,
  LockKeyError,
  LockLostError,
  LockServiceClosedError,
  LockUnavailableError,
} from './errors.js';
import { NewLocks } from './new-locks.js';
import { GuardedObservable } from './guarded-observable.js';
import { HeldLock, type Grant, type HeldLockHost } from './held-lock.js';
import { keyOf, keysOf } from './keys.js';
import { LockContext } from './lock-context.js';
import { JoinedLock, type Lock } from './lock.js';
import {
  resolveOptions,
  withoutOptions,
  type AcquireOptions,
  type LockDefaults,
  type ResolvedOptions,
  type WithLockOptions,
} from './options.js';
import { Owners } from './owners.js';
import { Renewals } from './renewals.js';
import { WaitQueues } from './wait-queues.js';

/** Who holds a key. */
export interface LockInfo {
  readonly key: string;
  /** Tells host and process. */
  readonly owner: string;
  readonly fencingToken: number;
  /** ms until the key expires unless it is renewed: up to `clockSkew` more than is left of the lease. */
  readonly remainingTime: number;
}

/** What a health check can tell of locks: the store's view, and what this process holds. */
export interface LockHealth extends StoreHealth {
  /** Locks that this process holds now. */
  readonly held: number;
  /** Locks that this process has lost since its start. */
  readonly lost: number;
}

/** A key, or several that are taken all or none. */
export type LockKeys = string | readonly string[];

/** Locks that are given up in one turn of the event loop when the application ends. */
const SLICE = 100;

/** `open`: as usual. `draining`: only what is asked inside a held lock is granted. `closed`: nothing is. */
type State = 'open' | 'draining' | 'closed';

/** Takes, holds and gives back locks. Injected where it is needed. */
export class LockService {
  private state: State = 'open';
  private readonly base: ResolvedOptions;
  /** Options that cannot change, such as those of a decorator, are checked once. */
  private readonly resolved = new WeakMap<WithLockOptions, ResolvedOptions>();
  private readonly queues: WaitQueues;
  private readonly context = new LockContext();
  private readonly locks = new IntrusiveSet<'index', HeldLock>('index');
  private readonly locksByKey = new Map<string, HeldLock>();
  private readonly newLocks: NewLocks<HeldLock>;
  private readonly waiting = new IntrusiveSet<'index', Acquisition>('index');
  private readonly emitted = new Subject<LockEvent>();
  private readonly reported = new Subject<StoreReport>();
  private readonly host: HeldLockHost & AcquisitionHost;
  private readonly listening: Subscription;
  private observer: AcquisitionObserver | undefined;
  private hasObserverFailed = false;
  private lostCount = 0;
  private onAllReleased: () => void = () => {};
  private draining: Promise<void> | undefined;
  private closing: Promise<void> | undefined;
  private isOpen = false;

  /** What happens to locks: acquired, contended, unconfirmed, renewed, lost, released. */
  readonly events: Observable<LockEvent> = this.guarded('events', this.emitted);
  /** What an operator should read: of the store, and of locks that were lost, not confirmed, or released without an answer. */
  readonly reports: Observable<StoreReport>;

  constructor(
    private readonly store: LockStore,
    private readonly defaults: LockDefaults,
    private readonly clock: Clock = systemClock,
  ) {
    this.base = withoutOptions(defaults);
    this.reports = this.guarded('reports', merge(store.reports, this.reported));
    this.newLocks = new NewLocks(clock);
    const deadlines = new Deadlines(clock);
    this.queues = new WaitQueues(clock, deadlines);
    this.host = {
      store,
      clock,
      deadlines,
      queues: this.queues,
      owners: new Owners(),
      signals: new AbortSignals(),
      renewals: new Renewals(clock),
      isHeard: () => this.emitted.observed,
      emit: (event) => this.emit(event),
      granted: (acquisition, owner, grant) => this.hold(acquisition, owner, grant),
      left: (acquisition) => this.waiting.delete(acquisition),
      ended: (lock) => this.forget(lock),
    };
    this.listening = store.changes.subscribe((change) => this.onChange(change));
  }

  /**
   * Takes the lock, waiting up to `waitTime` while somebody else holds it. Resolves only once the replicas have confirmed the write; the lock then renews itself
   * until it is released. Throws `LockContendedError` when the wait ends, `LockNotReplicatedError` when too few replicas answered, `LockUnavailableError`
   * when Redis could not be asked, `LockKeyError`, `LockOptionsError`, `LockServiceClosedError`, or the reason of `signal`.
   */
  acquire(key: LockKeys, options?: AcquireOptions): Promise<Lock> {
    try {
      return this.take(keysOf(key), resolveOptions(options, this.base));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Like `acquire`, but does not wait for a holder unless `waitTime` is given: null where the lock stays busy. A Redis or replica that is silent or being connected to is
   * waited for up to `replicaTimeout`.
   */
  async tryAcquire(key: LockKeys, options?: AcquireOptions): Promise<Lock | null> {
    const keys = keysOf(key);
    const resolved = resolveOptions({ waitTime: 0, ...options }, this.base);
    try {
      return await this.take(keys, resolved);
    } catch (error) {
      if (error instanceof LockContendedError) return null;
      throw error;
    }
  }

  /**
   * Runs `work` under the lock and resolves with its result. Where this asynchronous context holds the key already, the work joins that lock. Rejects with `LockLostError`
   * when the lock was lost before the work ended, whatever it returned; else with the work's own error, or as `acquire` does.
   */
  withLock<T>(key: LockKeys, work: (lock: Lock) => T | Promise<T>): Promise<T>;
  withLock<T>(key: LockKeys, options: WithLockOptions, work: (lock: Lock) => T | Promise<T>): Promise<T>;
  async withLock<T>(
    key: LockKeys,
    optionsOrWork: WithLockOptions | ((lock: Lock) => T | Promise<T>),
    maybeWork?: (lock: Lock) => T | Promise<T>,
  ): Promise<T> {
    const [options, work] =
      typeof optionsOrWork === 'function' ? [undefined, optionsOrWork] : [optionsOrWork, maybeWork];
    if (typeof work !== 'function')
      throw new TypeError('withLock needs the work to do under the lock: a function');
    if (work === optionsOrWork && maybeWork !== undefined)
      throw new TypeError('withLock takes its options before the work');
    // As `enter`, without the object that `enter` makes: every decorated method goes this way.
    const keys = keysOf(key);
    const resolved = this.resolve(options);
    const outer = resolved.reentrant ? this.context.joinable(keys) : undefined;
    const held = outer ?? (await this.take(keys, resolved));
    held.enter();
    let result: T;
    try {
      result = await (outer === undefined
        ? this.context.run(held, () => work(held))
        : work(new JoinedLock(outer)));
    } catch (error) {
      await leave(held, error);
      throw error;
    }
    await leave(held, undefined);
    return result;
  }

  /**
   * For decorators: takes the lock, or joins the one that this context holds. `run` puts work under it, `finish` releases it and throws
   * `LockLostError` where it was lost meanwhile, with the work's own error as its cause. `onWaiting` is told how to end the waiting.
   */
  async enter(
    key: LockKeys,
    options?: WithLockOptions,
    onWaiting?: (cancel: (reason: unknown) => void) => void,
  ): Promise<EnteredLock> {
    const keys = keysOf(key);
    const resolved = this.resolve(options);
    const outer = resolved.reentrant ? this.context.joinable(keys) : undefined;
    if (outer !== undefined) {
      outer.enter();
      return {
        lock: new JoinedLock(outer),
        run: (work) => work(),
        finish: (failure) => leave(outer, failure),
      };
    }
    const lock = await this.take(keys, resolved, onWaiting);
    lock.enter();
    return {
      lock,
      run: (work) => this.context.run(lock, work),
      finish: (failure) => leave(lock, failure),
    };
  }

  /** Runs `work` as if this asynchronous context held no lock. */
  outside<T>(work: () => T): T {
    return this.context.outside(work);
  }

  /** Who holds the key; null where nobody does. Throws `LockKeyError` where it holds another program's value, `LockUnavailableError`. */
  async inspect(key: string): Promise<LockInfo | null> {
    const keys = [keyOf(key)];
    this.open();
    const outcome = await this.store.inspect(key);
    if (outcome.kind === 'unavailable') throw new LockUnavailableError(keys, outcome);
    if (outcome.kind === 'foreign') throw LockKeyError.foreign(keys, outcome);
    if (outcome.kind === 'free') return null;
    const { owner, token, remainingTime } = outcome.holder;
    return { key, owner, fencingToken: token, remainingTime };
  }

  /** Whether anybody holds the key. Throws as `inspect` does. */
  async isLocked(key: string): Promise<boolean> {
    return (await this.inspect(key)) !== null;
  }

  /** For operators: takes the key from whoever holds it, whose signal aborts. False where nobody held it. Throws as `inspect` does. */
  async forceRelease(key: string): Promise<boolean> {
    const keys = [keyOf(key)];
    this.open();
    const outcome = await this.store.forceRelease(key);
    if (outcome.kind === 'unavailable') throw new LockUnavailableError(keys, outcome);
    if (outcome.kind === 'foreign') throw LockKeyError.foreign(keys, outcome);
    return outcome.wasHeld;
  }

  /** The lock that this asynchronous context runs under and holds (the innermost, or the one on `key`). */
  current(key?: string): Lock | undefined {
    return this.context.find(key === undefined ? undefined : keyOf(key));
  }

  /** The lock on `key` that this context runs under. Throws `LockLostError` where it holds none: for the line before the write. */
  assertHeld(key: string): Lock {
    const lock = this.context.find(keyOf(key));
    if (lock !== undefined) return lock;
    throw LockLostError.notHeld([key], new Date(this.clock.wall()));
  }

  /** What this process holds now. */
  get held(): readonly Lock[] {
    return [...this.locks].filter((lock) => lock.held);
  }

  /** The state of Redis and its replicas as last seen, and of this process's locks; asks nobody. */
  health(): LockHealth {
    const { status, masters } = this.store.health();
    return {
      status,
      masters: masters.map((master) => ({ ...master, members: master.replicas })),
      held: this.held.length,
      lost: this.lostCount,
    };
  }

  /** For tracing: tells the observer of every acquisition from now on. There can be one. */
  observe(observer: AcquisitionObserver): void {
    if (this.observer !== undefined)
      throw new Error('The acquisitions of this LockService are observed already.');
    this.observer = observer;
  }

  /** Begins to connect. The first use does it, too: locks are taken before an application has started. */
  open(): void {
    if (this.isOpen || this.state === 'closed') return;
    this.isOpen = true;
    this.store.open();
  }

  /** Checks options that a decorator will use with this service. Throws `LockOptionsError`. */
  checkOptions(options: WithLockOptions): void {
    resolveOptions(options, this.base);
  }

  /**
   * Refuses who waits and grants nothing new, but what is asked inside a held lock, so that running work can end; resolves when no lock is held any more, or
   * after `shutdownTimeout`. Idempotent.
   */
  drain(): Promise<void> {
    this.draining ??= this.refuseAndWait();
    return this.draining;
  }

  private async refuseAndWait(): Promise<void> {
    if (this.state === 'open') this.state = 'draining';
    // From the last to the first: none gets its turn in the queue only to be cancelled.
    for (const acquisition of [...this.waiting].toReversed()) {
      if (!acquisition.isNested) acquisition.cancel(new LockServiceClosedError(acquisition.keys));
    }
    if (this.locks.size === 0) return;
    await new Promise<void>((resolve) => {
      const stopClock = this.clock.after(this.defaults.shutdownTimeout, resolve);
      this.onAllReleased = () => {
        stopClock();
        resolve();
      };
    });
  }

  /** Tells the holders of what is left, releases it, and closes the store. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    this.state = 'closed';
    for (const acquisition of [...this.waiting].toReversed())
      acquisition.cancel(new LockServiceClosedError(acquisition.keys));
    let lost = 0;
    for (const lock of this.locks) {
      if (lock.hasEnded) continue;
      lock.lose('the application shut down before its work had ended', { takeBack: true });
      // Tens of thousands at once would block the event loop for so long that the connections are given up.
      if (++lost % SLICE === 0) await new Promise<void>((resolve) => this.clock.after(0, resolve));
    }
    this.host.renewals.close();
    this.newLocks.close();
    await this.store.close();
    this.listening.unsubscribe();
    this.emitted.complete();
    this.reported.complete();
  }

  private resolve(options: WithLockOptions | undefined): ResolvedOptions {
    if (options === undefined) return this.base;
    const known = this.resolved.get(options);
    if (known !== undefined) return known;
    const resolved = resolveOptions(options, this.base);
    if (Object.isFrozen(options)) this.resolved.set(options, resolved);
    return resolved;
  }

  private take(
    keys: readonly string[],
    options: ResolvedOptions,
    onWaiting?: (cancel: (reason: unknown) => void) => void,
  ): Promise<HeldLock> {
    const isNested = this.context.find() !== undefined;
    if (this.state === 'closed' || (this.state === 'draining' && !isNested)) {
      return Promise.reject(new LockServiceClosedError(keys));
    }
    this.open();
    const own = isNested ? keys.map((key) => this.context.find(key)).find((lock) => lock) : undefined;
    const onEnd = this.observed(keys, options.label);
    const taking = new Promise<HeldLock>((resolve, reject) => {
      const acquisition = new Acquisition(keys, options, isNested, own?.owner, this.host, resolve, reject);
      this.waiting.add(acquisition);
      onWaiting?.((reason) => acquisition.cancel(reason));
      acquisition.start();
    });
    if (onEnd !== undefined)
      taking.then(
        (lock) => onEnd({ kind: 'acquired', lock }),
        (error: unknown) => onEnd({ kind: 'refused', error, waitTime: options.waitTime }),
      );
    return taking;
  }

  /** Tells the observer, if there is one. Returns what is to be told of the end. */
  private observed(
    keys: readonly string[],
    label: string | undefined,
  ): ((end: AcquisitionEnd) => void) | undefined {
    const { observer } = this;
    if (observer === undefined) return undefined;
    const onEnd = this.listened(() => observer.onAsked(keys, label));
    return onEnd && ((end) => this.listened(() => onEnd(end)));
  }

  private listened<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      if (!this.hasObserverFailed)
        this.reported.next(listenerFailed('The observer of acquisitions', error, 'it is called again.'));
      this.hasObserverFailed = true;
      return undefined;
    }
  }

  private guarded<T>(name: string, source: Observable<T>): Observable<T> {
    return new GuardedObservable<T>(source, (error, hasEnded) => {
      const end = hasEnded ? 'it has ended its subscription.' : 'it is told of what follows.';
      this.reported.next(listenerFailed(`A subscriber of LockService.${name}`, error, end));
    });
  }

  private hold({ keys, options, askedAt }: Acquisition, owner: string, grant: Grant): HeldLock {
    const lock = new HeldLock(keys, owner, grant, options, this.host);
    this.locks.add(lock);
    // After a late grant on a busy event loop, the turn that would keep it is too late.
    if (lock.wasGrantedLate) lock.startKeeping();
    else this.newLocks.add(lock);
    for (const key of keys) this.locksByKey.set(key, lock);
    if (this.emitted.observed) {
      const now = lock.grantedAt;
      this.emitted.next({
        type: 'acquired',
        keys,
        label: options.label,
        owner,
        fencingToken: grant.token,
        confirmedBy: grant.confirmedBy,
        waited: now - askedAt,
        confirmedIn: now - grant.validity.startedAt,
      });
    }
    return lock;
  }

  private emit(event: LockEvent): void {
    if (event.type === 'lost') this.lostCount++;
    const report = reportOf(event);
    if (report !== undefined) this.reported.next(report);
    this.emitted.next(event);
  }

  private forget(lock: HeldLock): void {
    this.locks.delete(lock);
    for (const key of lock.keys) if (this.locksByKey.get(key) === lock) this.locksByKey.delete(key);
    if (this.locks.size === 0) this.onAllReleased();
  }

  private onChange(change: KeyChange): void {
    this.queues.changed(change);
    if ('key' in change) this.locksByKey.get(change.key)?.check();
    else if (change.isLost !== true)
      for (const lock of this.locks) if (lock.keys.some((key) => concerns(change, key))) lock.check();
  }
}

/** A lock that work can be put under. */
export interface EnteredLock {
  readonly lock: Lock;
  run<T>(work: () => T): T;
  finish(failure?: unknown): Promise<void>;
}

/** The last to leave releases: work that joined and was not awaited must not run on without the lock. */
async function leave(lock: HeldLock, failure: unknown): Promise<void> {
  // A release that Redis does not answer goes on by itself; it is no reason to lose the work's result.
  if (lock.leave()) {
    try {
      await lock.release();
    } catch {
      // An event tells of the release that was not answered.
    }
  }
  const { loss } = lock;
  if (loss === undefined) return;
  if (failure === undefined || failure === loss) throw loss;
  throw loss.because(failure);
}
