import { describe, expect, it } from '@jest/globals';
import { Renewals } from '../../lib/lock/renewals.js';
import { ManualClock } from '../support/manual-clock.js';

const PERIOD = 10_000;

describe('Renewals', () => {
  it('come evenly, though all locks were taken in one instant', async () => {
    const clock = new ManualClock();
    const renewals = new Renewals(clock);
    const start = clock.monotonic();
    const times: number[][] = [];
    for (let i = 0; i < 10_000; i++) {
      const mine: number[] = [];
      times.push(mine);
      renewals.start({ renew: () => mine.push(clock.monotonic() - start) }, PERIOD, 0);
    }
    await clock.advance(3 * PERIOD);
    renewals.close();

    for (const mine of times) {
      expect(mine[0]).toBeGreaterThan(PERIOD / 2 - 50);
      expect(mine[0]).toBeLessThanOrEqual(PERIOD);
      expect(mine[1]! - mine[0]!).toBe(PERIOD);
    }
    const perTurn = new Map<number, number>();
    for (const at of times.flat()) perTurn.set(at, (perTurn.get(at) ?? 0) + 1);
    // 10,000 over half a period of 400 turns are 50 a turn.
    expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(55);
    expect(clock.timers).toBe(0);
  });

  it('of a single lock come every period', async () => {
    const clock = new ManualClock();
    const renewals = new Renewals(clock);
    const start = clock.monotonic();
    const times: number[] = [];
    renewals.start({ renew: () => times.push(clock.monotonic() - start) }, PERIOD, 0);
    await clock.advance(3 * PERIOD);
    renewals.close();
    expect(times).toEqual([PERIOD, 2 * PERIOD, 3 * PERIOD]);
  });
});
