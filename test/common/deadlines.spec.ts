import { beforeEach, describe, expect, it } from '@jest/globals';
import { Deadlines, type Deadline, type Timed } from '../../lib/common/deadlines.js';
import { ManualClock } from '../support/manual-clock.js';

describe('Deadlines', () => {
  let clock: ManualClock;
  let deadlines: Deadlines;
  let told: { name: string; at: number }[];

  beforeEach(() => {
    clock = new ManualClock();
    deadlines = new Deadlines(clock);
    told = [];
  });

  function named(name: string): Timed {
    return { onDue: () => told.push({ name, at: clock.monotonic() }) };
  }

  function addAfter(ms: number, name = `after ${ms}`): Deadline {
    return deadlines.add(clock.monotonic() + ms, named(name));
  }

  it('tells each at its own time, in whatever order they were added, by one timer', async () => {
    const start = clock.monotonic();
    const times = [70, 10, 90, 30, 50, 20, 80, 40, 60];
    for (const ms of times) addAfter(ms);
    expect(clock.timers).toBe(1);
    await clock.advance(100);
    expect(told.map(({ at }) => at - start)).toEqual(times.toSorted((a, b) => a - b));
    expect(clock.timers).toBe(0);
  });

  it('says nothing to those that were stopped, and keeps no timer for them', async () => {
    const all = Array.from({ length: 50 }, (_, i) => addAfter(1 + ((i * 37) % 50)));
    for (const deadline of all.slice(1)) deadlines.stop(deadline);
    deadlines.stop(all[1]!);
    await clock.advance(60);
    expect(told).toHaveLength(1);
    deadlines.stop(addAfter(10));
    expect(clock.timers).toBe(0);
  });

  it('tells the others in order after some were stopped or moved', async () => {
    const start = clock.monotonic();
    const all = Array.from({ length: 100 }, (_, i) => addAfter(1 + ((i * 61) % 100)));
    all.forEach((deadline, i) => {
      if (i % 3 === 0) deadlines.stop(deadline);
      if (i % 3 === 1) deadlines.move(deadline, deadline.dueAt + 100);
    });
    await clock.advance(300);
    const due = all.filter((_, i) => i % 3 !== 0).map(({ dueAt }) => dueAt - start);
    expect(told.map(({ at }) => at - start)).toEqual(due.toSorted((a, b) => a - b));
  });

  it('never tells one that is due at Infinity, unless it is moved', async () => {
    const deadline = deadlines.add(Infinity, named('never'));
    expect(clock.timers).toBe(0);
    deadlines.move(deadline, clock.monotonic() + 5);
    await clock.advance(5);
    expect(told.map(({ name }) => name)).toEqual(['never']);
  });

  it('lets the one that is told add another', async () => {
    deadlines.add(clock.monotonic() + 5, { onDue: () => addAfter(5, 'second') });
    await clock.advance(20);
    expect(told.map(({ name }) => name)).toEqual(['second']);
    expect(clock.timers).toBe(0);
  });
});
