import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  LockKeyError,
  LockNotReplicatedError,
  LockServiceClosedError,
  LockUnavailableError,
} from '../../lib/lock/errors.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { MasterHealth } from '../../lib/store/lock-store.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { until } from '../support/eventually.js';
import { settled } from '../support/manual-clock.js';
import { fakeService, serviceDefaults, type FakeService } from './fake-service.js';

describe('LockService on a store whose answers the test gives', () => {
  let clock: FakeService['clock'];
  let store: FakeService['store'];
  let locks: FakeService['locks'];
  let events: FakeService['events'];
  let held: FakeService['held'];

  beforeEach(() => {
    ({ clock, store, locks, events, held } = fakeService());
  });

  describe('failures', () => {
    it('ask again as a new owner after too few confirmations, and the error says so at the end', async () => {
      const waiting = locks.acquire('k', { waitTime: 300 });
      await settled();
      const replicas = [
        { address: '10.0.0.7:6379', acknowledged: false, lag: 12 },
        { address: '10.0.0.8:6379', acknowledged: true, lag: 0 },
      ];
      store.last.answer({ kind: 'unconfirmed', confirmed: 1, required: 2, replicas });
      await clock.advance(100);
      expect(store.asked).toHaveLength(2);
      expect(store.asked[1]!.request.owner).not.toBe(store.asked[0]!.request.owner);
      await clock.advance(300);
      const rejection = expect(waiting).rejects.toMatchObject({
        code: 'LOCK_NOT_REPLICATED',
        confirmed: 1,
        required: 2,
        replicas,
        message: expect.stringMatching(
          /Lock 'k' was not confirmed and was taken back: 1 of the 2.*10\.0\.0\.7:6379 \(12 bytes behind\).*'majority'/,
        ),
      });
      store.last.answer({ kind: 'unconfirmed', confirmed: 1, required: 2, replicas });
      await rejection;
      await expect(rejection).resolves.toBeUndefined();
      const told = events.filter(({ type }) => type === 'unconfirmed');
      expect(told).toHaveLength(2);
      expect(told[0]).toMatchObject({
        error: { replicas, message: expect.stringContaining('10.0.0.7:6379 (12 bytes behind)') },
      });
    });

    it('name the lack of any replica', () => {
      const error = new LockNotReplicatedError(
        ['k'],
        { kind: 'unconfirmed', confirmed: 0, required: 1, replicas: [] },
        1_000,
      );
      expect(error.message).toMatch(/lists no replica.*allowNoReplicas: true/);
    });

    it('name the option that asks for more replicas than there are', () => {
      const replicas = ['a:1', 'b:1'].map((address) => ({ address, acknowledged: true, lag: 0 }));
      const error = new LockNotReplicatedError(
        ['k'],
        { kind: 'unconfirmed', confirmed: 2, required: 3, replicas },
        1_000,
      );
      expect(error.message).toMatch(
        /has only 2 replicas, and the option replicas asks for 3: attach .* set replicas to 2\./,
      );
    });

    it('ask again while Redis is away, with growing pauses, and the error has the reason', async () => {
      const waiting = locks.acquire('k', { waitTime: 2_000 });
      const rejection = expect(waiting).rejects.toMatchObject({
        code: 'LOCK_UNAVAILABLE',
        retryAfter: 700,
        message: "Lock 'k' could not be taken: Redis is away.",
      });
      await settled();
      for (let i = 0; i < 40; i++) {
        store.last.answer({ kind: 'unavailable', reason: 'Redis is away.', retryAfter: 700 });
        await clock.advance(60);
      }
      await rejection;
      expect(store.asked.length).toBeGreaterThan(3);
      expect(store.asked.length).toBeLessThan(15);
    });

    it('do not ask again if that cannot help', async () => {
      const waiting = locks.acquire('k');
      await settled();
      store.last.answer({ kind: 'unavailable', reason: 'NOPERM', permanent: true });
      await expect(waiting).rejects.toBeInstanceOf(LockUnavailableError);
      expect(store.asked).toHaveLength(1);
    });

    it('refuse the key of another program, and a server that may evict keys', async () => {
      const foreign = locks.acquire('k');
      await settled();
      store.last.answer({ kind: 'foreign', key: 'k', found: "the value 'basket'" });
      await expect(foreign).rejects.toMatchObject({
        code: 'LOCK_KEY',
        message: expect.stringContaining("the value 'basket'"),
      });
      const evicting = locks.acquire('k');
      await settled();
      store.last.answer({
        kind: 'misconfigured',
        option: 'allowEviction',
        value: false,
        reason: 'it evicts',
      });
      await expect(evicting).rejects.toMatchObject({
        code: 'LOCK_OPTIONS',
        option: 'allowEviction',
        keys: ['k'],
      });
    });

    it('wait once more for the answer of the store if the process was busy until the time was up', async () => {
      const granted = locks.tryAcquire('k');
      const unanswered = locks.tryAcquire('unanswered').catch((error: unknown) => error);
      await settled();
      const [asked] = store.asked;
      for (let i = 0; i < 2; i++) {
        clock.freeze(30_000);
        await clock.advance(0);
        if (i === 0) store.grant(asked);
        await settled();
      }
      expect(await granted).not.toBeNull();
      expect(await unanswered).toBeInstanceOf(LockUnavailableError);
    });

    it('end by the clock of the process if the store never answers', async () => {
      const waiting = locks.acquire('k', { waitTime: 500 });
      const rejection = expect(waiting).rejects.toBeInstanceOf(LockUnavailableError);
      await clock.advance(500 + 1_000 + 999);
      expect(store.last.isAbandoned).toBe(false);
      await clock.advance(1);
      await rejection;
      expect(store.last.isAbandoned).toBe(true);
      expect(clock.timers).toBe(0);
    });
  });

  describe('shutdown', () => {
    it('refuses waiting and new callers, and lets the work inside a lock end', async () => {
      let inner: Promise<unknown> | undefined;
      let end!: () => void;
      const outer = locks.withLock('outer', async () => {
        await new Promise<void>((resolve) => (end = resolve));
        inner = locks.withLock('inner', () => 'inside');
        return inner;
      });
      await settled();
      store.grant();
      const waiting = locks.acquire('busy');
      const refused = expect(waiting).rejects.toBeInstanceOf(LockServiceClosedError);
      await settled();
      const drained = locks.drain();
      await refused;
      expect(store.last.isAbandoned).toBe(true);
      await expect(locks.acquire('new')).rejects.toBeInstanceOf(LockServiceClosedError);
      end();
      await settled();
      expect(store.last.request.keys).toEqual(['inner']);
      store.grant();
      expect(await outer).toBe('inside');
      await drained;
      await locks.close();
      expect(store.isClosed).toBe(true);
    });

    it('waits for shutdownTimeout, and then aborts the signals of the locks that are still held', async () => {
      const lock = await held();
      const { signal } = lock;
      const drained = Promise.all([locks.drain(), locks.drain()]);
      await clock.advance(3_000);
      store.renewed();
      await drained;
      expect(signal.aborted).toBe(false);
      await Promise.all([locks.close(), locks.close()]);
      expect(signal.reason).toMatchObject({
        code: 'LOCK_LOST',
        message: expect.stringContaining('shut down'),
      });
      expect(store.releases).toHaveLength(1);
      expect(clock.timers).toBe(0);
      await expect(locks.acquire('k')).rejects.toBeInstanceOf(LockServiceClosedError);
    });
  });

  describe('questions', () => {
    it('reject with the failures of the store', async () => {
      store.inspectOutcome = { kind: 'unavailable', reason: 'away' };
      await expect(locks.isLocked('k')).rejects.toMatchObject({
        code: 'LOCK_UNAVAILABLE',
        message: "Lock 'k' could not be inspected: away",
      });
      store.inspectOutcome = { kind: 'foreign', key: 'k', found: 'x' };
      await expect(locks.inspect('k')).rejects.toBeInstanceOf(LockKeyError);
      store.forceOutcome = { kind: 'foreign', key: 'k', found: 'x' };
      await expect(locks.forceRelease('k')).rejects.toBeInstanceOf(LockKeyError);
      store.forceOutcome = { kind: 'unavailable', reason: 'away' };
      await expect(locks.forceRelease('k')).rejects.toMatchObject({
        code: 'LOCK_UNAVAILABLE',
        message: "Lock 'k' could not be released: away",
      });
    });

    it('list the replicas of a master by their old name, too', () => {
      const replicas = [{ address: '10.0.0.2:6379', acknowledged: true, lag: 0 }];
      store.health = () => ({ status: 'up', masters: [{ replicas } as unknown as MasterHealth] });
      expect(locks.health().masters).toEqual([{ replicas, members: replicas }]);
      const error = new LockNotReplicatedError(
        ['k'],
        { kind: 'unconfirmed', confirmed: 1, required: 2, replicas },
        1_000,
      );
      expect(error.members).toBe(replicas);
    });
  });
});

describe('LockService in memory', () => {
  let locks: LockService;
  beforeEach(() => {
    locks = new LockService(new MemoryStore(), serviceDefaults);
  });
  afterEach(async () => {
    await locks.close();
  });

  it('tells the holder of a key', async () => {
    const lock = await locks.acquire('k');
    expect(await locks.inspect('k')).toMatchObject({
      key: 'k',
      owner: lock.owner,
      fencingToken: lock.fencingToken,
    });
    expect(await locks.isLocked('k')).toBe(true);
    expect(await locks.isLocked('free')).toBe(false);
    expect(await locks.forceRelease('k')).toBe(true);
    await until(() => !lock.held, { what: 'the holder was told' });
  });

  it('hands the key over in order, and never to two callers', async () => {
    let inside = 0;
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        locks.withLock('k', async () => {
          expect(++inside).toBe(1);
          await new Promise((resolve) => setImmediate(resolve));
          order.push(i);
          inside--;
        }),
      ),
    );
    expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it('takes keys in any order without a deadlock', async () => {
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        locks.withLock(
          i % 2 ? ['a', 'b'] : ['b', 'a'],
          () => new Promise((resolve) => setImmediate(resolve)),
        ),
      ),
    );
  });

  it('does not deadlock with work that holds one key and asks for the other', async () => {
    const nested = locks.withLock('a', async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return locks.withLock('b', () => 'nested');
    });
    const both = locks.withLock(['a', 'b'], () => 'both');
    expect(await Promise.all([nested, both])).toEqual(['nested', 'both']);
  });

  it('notices a loss after the event loop stood still for longer than the lease', async () => {
    const lock = await locks.acquire('k', { leaseTime: 100 });
    const end = performance.now() + 130;
    while (performance.now() < end);
    expect(lock.held).toBe(false);
    expect(lock.signal.aborted).toBe(false);
    await until(() => lock.signal.aborted, { what: 'the signal aborts' });
  });

  it('accepts durations as text', async () => {
    const lock = await locks.acquire('k', { leaseTime: '1m', waitTime: '2 seconds' });
    expect(lock.leaseTime).toBe(60_000);
  });
});
