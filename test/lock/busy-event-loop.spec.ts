import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { LockEvent } from '../../lib/lock/events.js';
import { LockService } from '../../lib/lock/lock-service.js';
import { Validity } from '../../lib/store/validity.js';
import { until } from '../support/eventually.js';
import { ManualClock, settled } from '../support/manual-clock.js';
import { startReplication, type Replication } from '../support/replication.js';
import { RedisStores } from '../store/redis/redis-stores.js';
import { FakeStore } from './fake-store.js';
import { lockDefaults } from '../support/lock-defaults.js';

const defaults = lockDefaults();

describe('A lock that is held on a busy event loop', () => {
  describe('if the store answers one turn after the question', () => {
    let clock: ManualClock;
    let store: FakeStore;
    let locks: LockService;

    const begin = (): void => {
      clock = new ManualClock();
      store = new FakeStore(clock);
      locks = new LockService(store, defaults, clock);
    };
    /**
     * One turn of the event loop: other work for `ms`, then the timers, then the answers that the
     * store gave in that time.
     */
    const turn = async (ms: number): Promise<void> => {
      const out = store.renewals.splice(0);
      clock.freeze(ms);
      await clock.advance(0);
      for (const { answer, leaseTime, startsAt } of out)
        answer({ kind: 'renewed', validity: Validity.since(startsAt, leaseTime), confirmedBy: 2 });
      await settled();
    };

    it.each([
      [80, 15_000],
      [300, 15_000],
      [1_000, 15_000],
      [3_000, 15_000],
      [4_900, 15_000],
      [80, 2_000],
      [200, 2_000],
      [500, 2_000],
      [650, 2_000],
      [30, 100],
    ])('is kept by renewals, if a turn takes %d ms and the lease %d ms', async (lag, leaseTime) => {
      begin();
      const acquiring = locks.acquire('k', { leaseTime });
      await settled();
      const { startsAt } = store.last;
      clock.freeze(lag);
      await clock.advance(0);
      const validity = Validity.since(startsAt, leaseTime);
      store.last.answer({ kind: 'granted', token: 1, confirmedBy: 2, validity });
      const lock = await acquiring;
      const end = clock.monotonic() + 10 * leaseTime;
      while (clock.monotonic() < end) {
        await turn(lag);
        expect(lock.held).toBe(true);
      }
    });

    it.each([
      [1_600, 5_000],
      [560, 2_000],
      [650, 2_000],
    ])(
      'is kept by renewals, if the grant takes two turns of %d ms each and the lease is %d ms',
      async (lag, leaseTime) => {
        begin();
        const acquiring = locks.acquire('k', { leaseTime });
        await settled();
        const { startsAt } = store.last;
        // The confirmation was late, so the store checked the key again before the grant.
        for (let turns = 0; turns < 2; turns++) await turn(lag);
        const validity = Validity.since(startsAt, leaseTime);
        store.last.answer({ kind: 'granted', token: 1, confirmedBy: 2, validity });
        const lock = await acquiring;
        const end = clock.monotonic() + 3 * leaseTime;
        while (clock.monotonic() < end) {
          await turn(lag);
          expect(lock.held).toBe(true);
        }
      },
    );

    it.each([
      [80, 15_000],
      [300, 15_000],
      [1_000, 15_000],
      [3_000, 15_000],
      [3_700, 15_000],
      [80, 2_000],
      [220, 2_000],
      [250, 2_000],
      [300, 2_000],
      [330, 2_000],
      [400, 2_000],
      [490, 2_000],
    ])(
      'is first renewed within half a lease, if a turn takes %d ms and the lease %d ms',
      async (lag, leaseTime) => {
        begin();
        const renewedAt: number[] = [];
        locks.events.subscribe(({ type }) => type === 'renewed' && renewedAt.push(clock.monotonic()));
        const start = clock.monotonic();
        const acquiring = locks.acquire('k', { leaseTime });
        await settled();
        store.grant();
        await acquiring;
        while (renewedAt.length === 0) await turn(lag);
        expect(renewedAt[0]! - start).toBeLessThan(leaseTime / 2);
      },
    );

    it('is lost, and not renewed, if the event loop was blocked for a whole lease', async () => {
      begin();
      const acquiring = locks.acquire('k');
      await settled();
      store.grant();
      const lock = await acquiring;
      const { signal } = lock;
      await clock.advance(1_000);
      await turn(15_500);
      expect(store.renewals).toHaveLength(0);
      expect(signal.reason).toMatchObject({
        code: 'LOCK_LOST',
        message: expect.stringContaining('while this process did not run'),
      });
      expect(store.releases).toHaveLength(1);
      expect(locks.health()).toMatchObject({ held: 0, lost: 1 });
    });

    it('is lost, and not renewed, if the event loop was blocked before renewals began', async () => {
      begin();
      const acquiring = locks.acquire('k');
      await settled();
      store.grant();
      const lock = await acquiring;
      await turn(15_500);
      expect(store.renewals).toHaveLength(0);
      expect(lock.signal.aborted).toBe(true);
      await clock.advance(30_000);
      expect(clock.timers).toBe(0);
    });

    it('is renewed once, like 4,999 others, if the event loop was blocked for a third of the lease', async () => {
      begin();
      const acquiring = Array.from({ length: 5_000 }, (_, i) => locks.acquire(`k${i}`));
      await settled();
      for (const asked of store.asked) store.grant(asked);
      const held = await Promise.all(acquiring);
      await clock.advance(100);
      await turn(5_000);
      expect(new Set(store.renewals.map(({ lock }) => lock.owner)).size).toBe(5_000);
      expect(store.renewals).toHaveLength(5_000);
      await turn(100);
      expect(held.every((lock) => lock.held)).toBe(true);
    });
  });

  describe('with Redis', () => {
    const stores = new RedisStores();
    let redis: Replication;
    beforeAll(async () => {
      redis = await startReplication({ replicas: 1 });
    });
    afterEach(() => stores.closeAll());
    afterAll(() => redis.dispose());

    it('is still held after 1.4 leases, if a turn takes 80 ms', async () => {
      const leaseTime = 2_000;
      const locks = new LockService(stores.open(redis.url), defaults);
      const events: LockEvent[] = [];
      locks.events.subscribe((event) => events.push(event));
      const lock = await locks.acquire('busy', { leaseTime });
      const start = performance.now();
      let isBusy = true;
      const spin = (): void => {
        for (const end = performance.now() + 80; performance.now() < end;);
        if (isBusy) setImmediate(spin);
      };
      spin();
      try {
        await until(() => performance.now() - start > 1.4 * leaseTime, {
          what: '1.4 leases have passed',
        });
        expect(lock.held).toBe(true);
        expect(events.filter(({ type }) => type === 'renewed').length).toBeGreaterThanOrEqual(2);
      } finally {
        isBusy = false;
        await locks.close();
      }
    });
  });
});
