import { describe, expect, it } from '@jest/globals';
import { renewalPeriodOf, Renewals } from '../../lib/lock/renewals.js';
import { ManualClock } from '../support/manual-clock.js';

const LEASE = 30_000;
const PERIOD = 10_000;
/** ms between two steps of the wheel of this period, which has 100 places. */
const STEP = 100;

describe('Renewals', () => {
  it('come evenly, even if all locks were taken in one instant', async () => {
    const clock = new ManualClock();
    const renewals = new Renewals(clock);
    const start = clock.monotonic();
    const times: number[][] = [];
    for (let i = 0; i < 10_000; i++) {
      const mine: number[] = [];
      times.push(mine);
      renewals.start({ renew: () => mine.push(clock.monotonic() - start) }, LEASE, 0);
    }
    await clock.advance(3 * PERIOD);
    renewals.close();

    for (const mine of times) {
      expect(mine[0]).toBeGreaterThan(PERIOD / 2 - STEP);
      expect(mine[0]).toBeLessThanOrEqual(PERIOD);
      expect(mine[1]! - mine[0]!).toBe(PERIOD);
    }
    const perStep = new Map<number, number>();
    for (const at of times.flat()) perStep.set(at, (perStep.get(at) ?? 0) + 1);
    // 10,000 over half a period of 100 steps are 200 a step.
    expect(Math.max(...perStep.values())).toBeLessThanOrEqual(205);
    expect(clock.timers).toBe(0);
  });

  it('of a single lock come every period', async () => {
    const clock = new ManualClock();
    const renewals = new Renewals(clock);
    const start = clock.monotonic();
    const times: number[] = [];
    renewals.start({ renew: () => times.push(clock.monotonic() - start) }, LEASE, 0);
    await clock.advance(3 * PERIOD);
    renewals.close();
    expect(times).toEqual([PERIOD, 2 * PERIOD, 3 * PERIOD]);
  });

  describe('on a late event loop', () => {
    /** One turn of an event loop that did other work for `ms`. */
    const turn = async (clock: ManualClock, ms: number): Promise<void> => {
      clock.freeze(ms);
      await clock.advance(0);
    };

    it.each([26, 80, 300, 1_000, 3_300, 9_999])(
      'come once a period, rather early than late, if a turn takes %d ms',
      async (lag) => {
        const clock = new ManualClock();
        const renewals = new Renewals(clock);
        const start = clock.monotonic();
        const times: number[] = [];
        renewals.start({ renew: () => times.push(clock.monotonic() - start) }, LEASE, 0);
        while (times.length < 5) await turn(clock, lag);
        renewals.close();
        times.forEach((at, index) => {
          const due = (index + 1) * PERIOD;
          // Half a step of the wheel for timers that come early.
          expect(at).toBeGreaterThan(due - Math.min(lag, PERIOD / 4) - STEP / 2);
          expect(at).toBeLessThanOrEqual(due + Math.max(STEP, lag - PERIOD / 4));
        });
      },
    );

    it('come once for each lock after a long block: the lock that is due longest comes first', async () => {
      const clock = new ManualClock();
      const renewals = new Renewals(clock);
      const renewed: number[] = [];
      for (let lock = 0; lock < 200; lock++) {
        renewals.start({ renew: () => renewed.push(lock) }, LEASE, 0);
        await clock.advance(25);
      }
      renewed.length = 0;
      await turn(clock, 3 * PERIOD);
      expect(renewed.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, lock) => lock));
      renewed.length = 0;
      await clock.advance(1.3 * PERIOD);
      renewals.close();
      // The wheel is in step with the clock again.
      expect(new Set(renewed).size).toBe(200);
      expect(renewed.length).toBeLessThan(300);
    });

    it('come neither early nor late for a lock that is taken before the wheel has caught up', async () => {
      const clock = new ManualClock();
      const renewals = new Renewals(clock);
      renewals.start({ renew: () => {} }, LEASE, 0);
      await clock.advance(PERIOD / 2);
      clock.freeze(700);
      const start = clock.monotonic();
      const times: number[] = [];
      renewals.start({ renew: () => times.push(clock.monotonic() - start) }, LEASE, 0);
      await clock.advance(PERIOD);
      renewals.close();
      expect(times).toHaveLength(1);
      expect(times[0]).toBeGreaterThan(PERIOD / 2 - 700);
    });
  });

  describe('of many different leases', () => {
    it('share one timer: 5,000 leases from 15 to 20 s', async () => {
      const clock = new ManualClock();
      const renewals = new Renewals(clock);
      const places = Array.from({ length: 5_000 }, (_, i) => {
        const lock = { renew: () => {} };
        return { lock, place: renewals.start(lock, 15_000 + i, 0) };
      });
      expect(clock.timers).toBe(1);
      for (const { lock, place } of places) place.delete(lock);
      await clock.advance(50);
      expect(clock.timers).toBe(0);
    });

    it('share one timer for each of few periods if they are short', () => {
      const clock = new ManualClock();
      const renewals = new Renewals(clock);
      for (let lease = 100; lease < 2_000; lease++) renewals.start({ renew: () => {} }, lease, 0);
      expect(clock.timers).toBeLessThanOrEqual(60);
      renewals.close();
      expect(clock.timers).toBe(0);
    });

    it('come in time for each lease from 100 ms to 100 s', async () => {
      const clock = new ManualClock();
      const renewals = new Renewals(clock);
      const start = clock.monotonic();
      const locks = Array.from({ length: 61 }, (_, i) => {
        const lease = Math.round(100 * 10 ** (i / 20));
        const times: number[] = [];
        renewals.start({ renew: () => times.push(clock.monotonic() - start) }, lease, 0);
        return { lease, times };
      });
      await clock.advance(700);
      for (let i = 0; i < 400; i++) {
        clock.freeze(250);
        await clock.advance(0);
      }
      renewals.close();
      for (const { lease, times } of locks) {
        if (lease > 1_000) expect(times.length).toBeGreaterThanOrEqual(Math.floor(100_700 / lease) * 3 - 1);
        expect(times.length).toBeLessThanOrEqual(Math.ceil(100_700 / renewalPeriodOf(lease)) + 1);
      }
    });

    it.each([
      [100, 33],
      [1_000, 330],
      [3_000, 1_000],
      [5_000, 1_650],
      [15_000, 5_000],
      [15_001, 5_000],
      [15_750, 5_250],
      [30_000, 10_000],
      [60_000, 20_000],
      [2_147_483_647, 700_000_000],
    ])('have round periods: a lease of %d ms is renewed every %d ms', (lease, period) => {
      expect(renewalPeriodOf(lease)).toBe(period);
    });

    it('come at most 5% earlier than a third of the lease, and never later', () => {
      for (let lease = 100; lease < 1e9; lease *= 1.003) {
        const period = renewalPeriodOf(lease);
        expect(period).toBeLessThanOrEqual(lease / 3);
        expect(period).toBeGreaterThan((lease / 3) * 0.95);
      }
    });
  });
});
