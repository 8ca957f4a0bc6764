import { AssertionError } from 'node:assert';
import { giveService, neededBy } from '../decorators/instance-services.js';
import type { LockEvent } from '../lock/events.js';
import type { HeldLock } from '../lock/held-lock.js';
import type { LockKeys } from '../lock/keys.js';
import { LockService } from '../lock/lock-service.js';
import type { Lock } from '../lock/lock.js';
import type { AcquireOptions, Duration } from '../lock/options.js';
import { checkOptions, type ReplicaLockModuleOptions } from '../module/options.js';
import { MemoryServer } from '../store/memory/memory-server.js';
import { MemoryStore } from '../store/memory/memory-store.js';
import { TestClock } from './test-clock.js';
import { TestStore } from './test-store.js';

/**
 * The options of `ReplicaLockModule.forRoot` without `connection`. `shutdownTimeout` defaults to 0.
 */
export type TestLocksOptions = Omit<ReplicaLockModuleOptions, 'connection'>;

/**
 * A `LockService` for tests. The locks are real and kept in memory; the test controls the clock,
 * the other processes and the faults of Redis. Create one `TestLocks` for each application, because
 * the service closes with the application.
 * @example
 * ```ts
 * const locks = new TestLocks();
 * const module = await Test.createTestingModule({ imports: [AppModule] })
 *   .overrideProvider(LockService)
 *   .useValue(locks.service)
 *   .compile();
 * ```
 */
export class TestLocks {
  /** The service that the application uses. */
  readonly service: LockService;
  /** The clock of all these locks. */
  readonly clock = new TestClock();
  private readonly store: TestStore;
  private readonly elsewhere: LockService;
  private readonly server: MemoryServer;
  private readonly events: LockEvent[] = [];

  /** @throws LockOptionsError if an option is unknown or wrong. */
  constructor(options: TestLocksOptions = {}) {
    const { defaults } = checkOptions({ shutdownTimeout: 0, ...options, connection: 'memory:' });
    const server = new MemoryServer(this.clock);
    this.server = server;
    this.store = new TestStore(this.clock, server);
    this.service = new LockService(this.store, defaults, this.clock);
    this.elsewhere = new LockService(new MemoryStore(this.clock, server), defaults, this.clock);
    this.service.events.subscribe({
      next: (event) => this.events.push(event),
      complete: () => void this.elsewhere.close(),
    });
  }

  /**
   * Takes the key as another process would. The key stays locked until the returned lock is
   * released.
   * @throws LockContendedError if the key is not free. `waitTime` is 0 unless given.
   */
  holdElsewhere(key: LockKeys, options?: AcquireOptions): Promise<Lock> {
    return this.elsewhere.acquire(key, { waitTime: 0, ...options });
  }

  /**
   * Keeps this result in the key, as if `once` had run in another process. An earlier result is
   * replaced.
   * @param keepFor In ms, or a string such as `'20s'`. Default: an hour.
   * @throws LockContendedError if the key is held.
   * @throws LockOptionsError if the result is no JSON or too large.
   */
  async keepElsewhere(key: string, result: unknown, keepFor: Duration = '1h'): Promise<void> {
    if (this.server.inspect(key).kind === 'kept') this.server.forceRelease(key);
    await this.elsewhere.once(key, { keepFor, waitTime: 0 }, () => result);
  }

  /**
   * Makes the application lose its lock on this key: the lock's signal aborts, and the key is free.
   * @throws AssertionError if the application does not hold the key.
   */
  lose(key: string): void {
    const locks = this.service.held.filter(({ keys }) => keys.includes(key)) as HeldLock[];
    if (locks.length === 0) this.fail(`Lock '${key}' cannot be lost: the application does not hold it.`);
    for (const lock of locks) lock.lose('the test asked for the loss', { takeBack: true });
  }

  /**
   * Wins the election on this key as another process would. That process leads until the returned
   * lock is released.
   * @throws LockContendedError if the application or another process leads already.
   */
  electElsewhere(key: string, options?: AcquireOptions): Promise<Lock> {
    return this.holdElsewhere(key, options);
  }

  /**
   * Makes the application lose its leadership of this key. The application stands again at once.
   * @throws AssertionError if the application does not lead.
   */
  depose(key: string): void {
    this.assertLeader(key);
    this.lose(key);
  }

  /**
   * Asserts that the application leads the election on this key.
   * @throws AssertionError if not.
   */
  assertLeader(key: string): void {
    const elections = this.service.health().elections;
    if (!elections.some((election) => election.key === key && election.isLeader))
      this.fail(`The application does not lead '${key}'.`);
  }

  /**
   * From now on no replica confirms: new locks reject with `LockNotReplicatedError`, and held locks
   * are lost when their lease ends. `recover` ends this fault.
   */
  replicasDoNotAnswer(): void {
    this.store.fail('replicas silent');
  }

  /**
   * From now on Redis cannot be reached: new locks reject with `LockUnavailableError`, and held
   * locks are lost when their lease ends. `recover` ends this fault.
   */
  redisIsDown(): void {
    this.store.fail('down');
  }

  /** Ends the faults of `replicasDoNotAnswer` and `redisIsDown`. */
  recover(): void {
    this.store.recover();
  }

  /** The events of the application's locks so far. */
  get history(): readonly LockEvent[] {
    return [...this.events];
  }

  /** The keys that were granted to the application so far, in order, with repetitions. */
  get locked(): readonly string[] {
    return this.events.flatMap((event) => (event.type === 'acquired' ? event.keys : []));
  }

  /**
   * Asserts that each of these keys was granted to the application.
   * @throws AssertionError if not.
   */
  assertLocked(...keys: string[]): void {
    const missing = keys.filter((key) => !this.locked.includes(key));
    if (missing.length > 0) this.fail(`The application never locked ${listOf(missing)}.`);
  }

  /**
   * Asserts that none of these keys was granted to the application. Without keys: no key at all.
   * @throws AssertionError if not.
   */
  assertNotLocked(...keys: string[]): void {
    const found = this.locked.filter((key) => keys.length === 0 || keys.includes(key));
    if (found.length > 0) this.fail(`The application locked ${listOf(found)}.`);
  }

  /**
   * Asserts that the application holds no lock any more: for the end of a test.
   * @throws AssertionError if not.
   */
  assertNothingHeld(): void {
    const held = this.service.held.flatMap(({ keys }) => keys);
    if (held.length > 0) this.fail(`The application still holds ${listOf(held)}.`);
  }

  /**
   * Gives this service to an object with locked methods that Nest did not create (`new Reports()`).
   * Returns the object.
   */
  provideTo<T extends object>(object: T): T {
    for (const name of neededBy(object)) giveService(object, name, this.service);
    return object;
  }

  /**
   * Clears the history, ends all faults, releases what `holdElsewhere` took and removes all kept
   * results: for `beforeEach`.
   */
  async reset(): Promise<void> {
    this.recover();
    await Promise.all(this.elsewhere.held.map((lock) => lock.release()));
    for (const key of this.server.keysWithResult) this.server.forceRelease(key);
    this.events.length = 0;
  }

  private fail(message: string): never {
    const known = this.locked.length === 0 ? 'nothing' : listOf([...new Set(this.locked)]);
    throw new AssertionError({ message: `${message} So far it has locked ${known}.` });
  }
}

function listOf(keys: readonly string[]): string {
  return keys.map((key) => `'${key}'`).join(', ');
}
