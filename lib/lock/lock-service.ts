import type { Observable } from 'rxjs';
import { systemClock, type Clock } from '../common/clock.js';
import type { LockStore, StoreReport } from '../store/lock-store.js';
import { CallOptions, optionsAndWork } from './call-options.js';
import { Acquisitions, type OnWaiting } from './acquisitions.js';
import { enterTaken, join, leave, type EnteredLock } from './entered-lock.js';
import type { ElectOptions } from './election-options.js';
import type { LockElection } from './election.js';
import { Elections } from './elections.js';
import { LockContendedError, LockLostError } from './errors.js';
import type { AcquisitionObserver, LockEvent } from './events.js';
import type { HeldLock } from './held-lock.js';
import { HeldLocks } from './held-locks.js';
import { KeyInspection, type LockPage } from './key-inspection.js';
import { keyOf, keysOf, type LockKeys } from './keys.js';
import { Listeners } from './listeners.js';
import { LockContext } from './lock-context.js';
import { lockHealth, type LockHealth, type LockInfo } from './lock-info.js';
import { JoinedLock, type Lock } from './lock.js';
import { onceOptionsOf, type OnceOptions } from './once-options.js';
import type { OnceResult } from './once-result.js';
import type { AcquireOptions, LockDefaults, ResolvedOptions, WithLockOptions } from './options.js';
import { RunOnce } from './run-once.js';
import { Shutdown } from './shutdown.js';

/**
 * Takes, holds and gives back locks. Provided by `ReplicaLockModule`, never constructed by hand.
 *
 * ```ts
 * constructor(private readonly locks: LockService) {}
 *
 * close(day: string) {
 *   return this.locks.withLock(`report:${day}`, (lock) => this.write(day, lock.signal));
 * }
 * ```
 */
export class LockService {
  private readonly options: CallOptions;
  private readonly context = new LockContext();
  private readonly locks: HeldLocks;
  /** @internal */
  readonly elections: Elections;
  private readonly runOnce: RunOnce;
  private readonly listeners: Listeners;
  /** @internal */ readonly acquisitions: Acquisitions;
  private readonly inspection: KeyInspection;
  private readonly shutdown: Shutdown;
  private isOpen = false;

  /**
   * What happens to the locks of this process: acquired, contended, unconfirmed, renewed, lost,
   * released. Completes when the application shuts down.
   */
  readonly events: Observable<LockEvent>;
  /**
   * What an operator should read: reports about Redis, and about locks that were lost, not
   * confirmed, or released without an answer. The module writes them to the Nest logger. Completes
   * when the application shuts down.
   */
  readonly reports: Observable<StoreReport>;

  /** @internal */
  constructor(
    private readonly store: LockStore,
    defaults: LockDefaults,
    private readonly clock: Clock = systemClock,
  ) {
    this.options = new CallOptions(defaults);
    this.listeners = new Listeners(store.reports);
    this.events = this.listeners.events;
    this.reports = this.listeners.reports;
    this.locks = new HeldLocks(clock);
    this.acquisitions = new Acquisitions(store, clock, this.context, this.listeners, this.locks);
    this.elections = new Elections(
      {
        clock,
        context: this.context,
        take: (key, given, onWaiting) => {
          this.open();
          return this.acquisitions.takeUnlessKept(key, this.options.leading(given), onWaiting);
        },
        inspect: (key) => this.inspect(key),
        emit: (event) => this.listeners.emit(event),
        report: (report) => this.listeners.report(report),
      },
      (given) => this.options.resolve(given),
    );
    this.inspection = new KeyInspection(store, () => this.open());
    this.runOnce = new RunOnce(store, clock, this.context, this.listeners, this.acquisitions);
    const listening = store.changes.subscribe((change) => {
      this.acquisitions.changed(change);
      this.locks.check(change);
    });
    const { elections, acquisitions, locks, context, listeners } = this;
    const ending = { store, elections, acquisitions, locks, context, listeners, listening };
    this.shutdown = new Shutdown(ending, defaults.shutdownTimeout);
  }

  /**
   * Takes the lock, and waits up to `waitTime` if another caller holds the key. Resolves only once
   * the replicas have confirmed the write. The lock then renews itself until it is released.
   *
   * ```ts
   * await using lock = await locks.acquire('order:42', { waitTime: '2s' });
   * ```
   *
   * @throws `LockContendedError` if the lock stays busy until `waitTime` ends.
   * @throws `LockNotReplicatedError` if too few replicas confirm the write in time.
   * @throws `LockUnavailableError` if Redis cannot be reached or refuses, or in a quarantine.
   * @throws `LockKeyError` if a key cannot be used, or holds a value that no lock wrote.
   * @throws `LockOptionsError` if an option is not accepted, or the server may evict locks.
   * @throws `LockServiceClosedError` if the application is shutting down.
   * @throws the reason of `signal` if the signal aborts first.
   */
  acquire(key: LockKeys, options?: AcquireOptions): Promise<Lock> {
    try {
      return this.take(keysOf(key), this.options.resolve(options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Like `acquire`, but resolves with null if the lock stays busy, and does not wait for a holder
   * unless `waitTime` is given. A server that is silent or being connected to is waited for up to
   * `replicaTimeout`.
   *
   * @throws as `acquire`, apart from `LockContendedError`.
   */
  async tryAcquire(key: LockKeys, options?: AcquireOptions): Promise<Lock | null> {
    const keys = keysOf(key);
    const resolved = this.options.resolveAtOnce(options);
    try {
      return await this.take(keys, resolved);
    } catch (error) {
      if (error instanceof LockContendedError) return null;
      throw error;
    }
  }

  /**
   * Runs `work` under the lock and resolves with its result. If this asynchronous context holds the
   * key already, the work joins that lock.
   *
   * @throws `LockKeyError` if this context holds the key with a larger `limit`.
   * @throws `LockLostError` if the lock is lost before the work ends, whatever the work returns.
   *   The error of the work is then its `cause`.
   * @throws the error of the work.
   * @throws as `acquire` if the lock cannot be taken.
   */
  withLock<T>(key: LockKeys, work: (lock: Lock) => T | Promise<T>): Promise<T>;
  withLock<T>(key: LockKeys, options: WithLockOptions, work: (lock: Lock) => T | Promise<T>): Promise<T>;
  async withLock<T>(
    key: LockKeys,
    optionsOrWork: WithLockOptions | ((lock: Lock) => T | Promise<T>),
    maybeWork?: (lock: Lock) => T | Promise<T>,
  ): Promise<T> {
    const [options, work] = optionsAndWork(optionsOrWork, maybeWork);
    // The same as `enter`, without the object that `enter` makes: decorated methods that return a
    // promise come here, outside handlers.
    const keys = keysOf(key);
    const resolved = this.options.resolve(options);
    const outer = resolved.reentrant ? this.context.joinable(keys, resolved.limit) : undefined;
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
   * Stands for the election of the one leader for `key` among all copies of the application, until
   * the returned election resigns or the application shuts down. A process has one election for
   * each key: a second call for the key returns the same. After a resignation the next call stands
   * again, and the new election begins when the old one has ended.
   *
   * ```ts
   * const election = locks.elect('scheduler');
   * await election.runIfLeader(() => this.tick());
   * ```
   *
   * @throws `LockKeyError` if the key cannot be used.
   * @throws `LockOptionsError` if an option is not accepted, or differs from an earlier call.
   */
  elect(key: string, options?: ElectOptions): LockElection {
    return this.elections.elect(keyOf(key), options);
  }

  /**
   * Runs `work` under the lock unless it ran before, and keeps its result (JSON of at most 64 KiB,
   * or undefined) for `keepFor`: all copies of the application get the result of the one run. Waits
   * up to `waitTime` while another caller runs the work. If the work fails or the lock is lost,
   * nothing is kept, and the next caller runs the work. See docs/kinds.md.
   *
   * ```ts
   * const { result, ran } = await locks.once('invoice:42', { keepFor: '1h' }, () => this.bill(42));
   * ```
   *
   * @throws `LockOptionsError` if the result is no JSON or too large.
   * @throws `LockLostError` if the lock is lost before the replicas have confirmed the result.
   * @throws `LockKeyError` if this context holds the key already.
   * @throws the error of the work, and as `acquire`.
   */
  async once<T>(
    key: string,
    options: OnceOptions,
    work: (lock: Lock) => T | Promise<T>,
  ): Promise<OnceResult<T>> {
    const { keepFor, lock } = onceOptionsOf(keyOf(key), options);
    const resolved = this.options.resolve(lock);
    this.open();
    return this.runOnce.run(key, keepFor, resolved, work);
  }

  /**
   * The first of `inspectAll`; null if the key is free.
   * @throws `LockKeyError` if the key cannot be used, or holds a value that no lock wrote.
   * @throws `LockUnavailableError` if Redis cannot be reached or refuses.
   */
  async inspect(key: string): Promise<LockInfo | null> {
    return (await this.inspectAll(key))[0] ?? null;
  }

  /**
   * The holders of the key, the first to end first, or the result that the key keeps (`kept`). Asks
   * the master.
   * @throws as `inspect`.
   */
  inspectAll(key: string): Promise<readonly LockInfo[]> {
    return this.inspection.inspectAll(key);
  }

  /**
   * True if the key is held, by this process or any other. False if the key only keeps a result.
   *
   * @throws as `inspect`.
   */
  async isLocked(key: string): Promise<boolean> {
    return (await this.inspectAll(key)).some(({ kept }) => kept === undefined);
  }

  /**
   * The holders of all keys that match, and the results that keys keep, in no order. Reads about 200
   * keys at a time, by SCAN on every master. A key that changes meanwhile may come twice or never.
   *
   * ```ts
   * for await (const { key, owner } of locks.list({ match: 'order:*' })) console.log(key, owner);
   * ```
   *
   * @param options `match`: a glob as in Redis (`*`, `?`, `[a-z]`) on the keys without `keyPrefix`.
   * @throws `LockOptionsError` at once if an option is not accepted.
   * @throws `LockUnavailableError` from the loop if Redis cannot be reached or refuses.
   */
  list(options?: { match?: string | undefined }): AsyncIterable<LockInfo> {
    return this.inspection.list(options);
  }

  /**
   * One page of `list`, for pages of a board. The `cursor` is of the page before.
   *
   * @internal
   */
  listPage(options?: { match?: string | undefined; cursor?: string | undefined }): Promise<LockPage> {
    return this.inspection.page(options);
  }

  /**
   * For operators: takes the key away from all its holders, or from the one that `owner` names.
   * Their signals abort. Removes a result that the key keeps. False if the key had none of these.
   *
   * @throws as `inspect`; `TypeError` if `owner` is empty or no text.
   */
  forceRelease(key: string, owner?: string): Promise<boolean> {
    return this.inspection.forceRelease(key, owner);
  }

  /**
   * The innermost lock that this asynchronous context runs under and still holds. With `key`: the
   * lock on that key. Undefined if there is none.
   *
   * @throws `LockKeyError` if the key cannot be used.
   */
  current(key?: string): Lock | undefined {
    return this.context.find(key === undefined ? undefined : keyOf(key));
  }

  /**
   * The lock on `key` that this asynchronous context runs under and holds: for the line before a
   * write.
   *
   * @throws `LockLostError` if the context holds no such lock, or no longer.
   * @throws `LockKeyError` if the key cannot be used.
   */
  assertHeld(key: string): Lock {
    const lock = this.context.find(keyOf(key));
    if (lock !== undefined) return lock;
    throw LockLostError.notHeld([key], new Date(this.clock.wall()));
  }

  /** The locks that this process holds now. */
  get held(): readonly Lock[] {
    return this.locks.held;
  }

  /**
   * The state of Redis and its replicas as last seen, and the number of locks of this process.
   * Sends no command.
   */
  health(): LockHealth {
    return lockHealth(this.store.health(), this.held.length, this.listeners.lostCount, this.elections.health);
  }

  /**
   * Takes the lock, or joins the lock that this context holds. `onWaiting` receives the function
   * that ends the waiting. For decorators.
   *
   * @internal
   */
  async enter(key: LockKeys, options?: WithLockOptions, onWaiting?: OnWaiting): Promise<EnteredLock> {
    const keys = keysOf(key);
    const resolved = this.options.resolve(options);
    const outer = resolved.reentrant ? this.context.joinable(keys, resolved.limit) : undefined;
    if (outer !== undefined) return join(outer);
    return enterTaken(await this.take(keys, resolved, onWaiting), this.context);
  }

  /**
   * Runs `work` as if this asynchronous context held no lock.
   *
   * @internal
   */
  outside<T>(work: () => T): T {
    return this.context.outside(work);
  }

  /**
   * Tells the observer of every acquisition from now on. A service has one observer at most.
   *
   * @internal
   */
  observe(observer: AcquisitionObserver): void {
    this.listeners.observe(observer);
  }

  /**
   * Begins to connect. The first use of the service also connects: locks are taken before an
   * application has started.
   *
   * @internal
   */
  open(): void {
    if (this.isOpen || this.acquisitions.isClosed) return;
    this.isOpen = true;
    this.store.open();
  }

  /**
   * Checks options that a decorator will use with this service. Throws `LockOptionsError`.
   *
   * @internal
   */
  checkOptions(options: WithLockOptions): void {
    this.options.resolve(options);
  }

  /**
   * Rejects all waiting callers and grants nothing new, apart from requests inside a held lock, so
   * that running work can end. Resolves when no lock is held any more, or after `shutdownTimeout`.
   * A second call returns the same promise.
   *
   * @internal
   */
  drain(): Promise<void> {
    return this.shutdown.drain();
  }

  /**
   * Loses and releases the locks that are left, and closes the store. A second call returns the
   * same promise.
   *
   * @internal
   */
  close(): Promise<void> {
    return this.shutdown.close();
  }

  private take(keys: readonly string[], options: ResolvedOptions, onWaiting?: OnWaiting): Promise<HeldLock> {
    this.open();
    return this.acquisitions.take(keys, options, onWaiting);
  }
}
