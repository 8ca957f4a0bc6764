import { beforeEach, describe, expect, it } from '@jest/globals';
import { Waiters } from '../../lib/common/waiters.js';
import { ManualClock } from '../support/manual-clock.js';

describe('A caller that waits for an event', () => {
  let clock: ManualClock;
  let waiters: Waiters;

  beforeEach(() => {
    clock = new ManualClock();
    waiters = new Waiters(clock);
  });

  it('goes on when the event occurs, as every caller that waits does', async () => {
    const both = Promise.all([waiters.next(100), waiters.next(200)]);
    waiters.notify();
    expect(await both).toEqual([true, true]);
  });

  it('gives up when its time has passed, and does not hear of the event later', async () => {
    const short = waiters.next(100);
    const long = waiters.next(200);
    await clock.advance(100);
    waiters.notify();
    expect([await short, await long]).toEqual([false, true]);
  });

  it('does not hear of an event that occurred before', async () => {
    waiters.notify();
    const late = waiters.next(100);
    await clock.advance(100);
    expect(await late).toBe(false);
  });
});
