import { AssertionError } from 'node:assert';
import { giveService, neededBy } from '../decorators/instance-services.js';
import type { LockEvent } from '../lock/events.js';
import type { HeldLock } from '../lock/held-lock.js';
import type { LockKeys } from '../lock/keys.js';
import { LockService } from '../lock/lock-service.js';
import type { Lock } from '../lock/lock.js';
import type { AcquireOptions } from '../lock/options.js';
import { checkOptions, type ReplicaLockModuleOptions } from '../module/options.js';
import { MemoryServer } from '../store/memory/memory-server.js';
import { MemoryStore } from '../store/memory/memory-store.js';
import { TestClock } from './test-clock.js';
import { TestStore } from './test-store.js';

/** As for `ReplicaLockModule.forRoot`, without a connection. `shutdownTimeout` is 0 here unless given. */
export type TestLocksOptions = Omit<ReplicaLockModuleOptions, 'connection'>;

/**
 * A `LockService` for tests: real locks in memory, whose surroundings the test holds in its hands.
 *
 * ```ts
 * const locks = new TestLocks();
 * Test.createTestingModule({ imports: [AppModule] }).overrideProvider(LockService).useValue(locks.service);
 * ```
 *
 * One for each application: it closes with it.
 */
export class TestLocks {
  /** What the application locks with. */
  readonly service: LockService;
  /** The clock of all locks here. */
  readonly clock = new TestClock();
  private readonly store: TestStore;
  private readonly elsewhere: LockService;
  private readonly events: LockEvent[] = [];

  /** Throws `LockOptionsError`. */
  constructor(options: TestLocksOptions = {}) {
    const { defaults } = checkOptions({ shutdownTimeout: 0, ...options, connection: 'memory:' });
    const server = new MemoryServer(this.clock);
    this.store = new TestStore(this.clock, server);
    this.service = new LockService(this.store, defaults, this.clock);
    this.elsewhere = new LockService(new MemoryStore(this.clock, server), defaults, this.clock);
    this.service.events.subscribe({
      next: (event) => this.events.push(event),
      complete: () => void this.elsewhere.close(),
    });
  }

  /** Takes the key as another process would, and keeps it until the returned lock is released. Throws `LockContendedError` where it is not free. */
  holdElsewhere(key: LockKeys, options?: AcquireOptions): Promise<Lock> {
    return this.elsewhere.acquire(key, { waitTime: 0, ...options });
  }

  /** The application loses the lock that it holds on this key: the lock's signal aborts, the key is free. Throws an `AssertionError` where it holds none. */
  lose(key: string): void {
    const lock = this.service.held.find(({ keys }) => keys.includes(key)) as HeldLock | undefined;
    if (lock === undefined) this.fail(`Lock '${key}' cannot be lost: the application does not hold it.`);
    lock.lose('the test wanted it', { takeBack: true });
  }

  /** From now on no replica confirms: new locks reject with `LockNotReplicatedError`, held ones are lost when their lease ends. */
  replicasDoNotAnswer(): void {
    this.store.fail('replicas silent');
  }

  /** From now on Redis cannot be reached: new locks reject with `LockUnavailableError`, held ones are lost when their lease ends. */
  redisIsDown(): void {
    this.store.fail('down');
  }

  /** Ends these faults. */
  recover(): void {
    this.store.recover();
  }

  /** What has happened to the application's locks so far. */
  get history(): readonly LockEvent[] {
    return [...this.events];
  }

  /** The keys that the application was granted so far, in that order, each as often as it was. */
  get locked(): readonly string[] {
    return this.events.flatMap((event) => (event.type === 'acquired' ? event.keys : []));
  }

  /** Throws an `AssertionError` unless the application was granted each of these keys. */
  assertLocked(...keys: string[]): void {
    const missing = keys.filter((key) => !this.locked.includes(key));
    if (missing.length > 0) this.fail(`The application never locked ${listOf(missing)}.`);
  }

  /** Throws an `AssertionError` where the application was granted one of these keys; without keys, any. */
  assertNotLocked(...keys: string[]): void {
    const found = this.locked.filter((key) => keys.length === 0 || keys.includes(key));
    if (found.length > 0) this.fail(`The application locked ${listOf(found)}.`);
  }

  /** Throws an `AssertionError` where the application still holds a lock: for the end of a test. */
  assertNothingHeld(): void {
    const held = this.service.held.flatMap(({ keys }) => keys);
    if (held.length > 0) this.fail(`The application still holds ${listOf(held)}.`);
  }

  /** For an object with locked methods that no Nest injector made (`new Reports()`): it locks here. Returns the object. */
  provideTo<T extends object>(object: T): T {
    for (const name of neededBy(object)) giveService(object, name, this.service);
    return object;
  }

  /** Forgets the history, ends all faults, and gives back what was held elsewhere: for `beforeEach`. */
  async reset(): Promise<void> {
    this.recover();
    await Promise.all(this.elsewhere.held.map((lock) => lock.release()));
    this.events.length = 0;
  }

  private fail(message: string): never {
    const known = this.locked.length === 0 ? 'nothing' : listOf([...new Set(this.locked)]);
    throw new AssertionError({ message: `${message} It has locked ${known} so far.` });
  }
}

function listOf(keys: readonly string[]): string {
  return keys.map((key) => `'${key}'`).join(', ');
}
