import { entryOfEvent } from '../../lib/board/event-texts.js';
import { RecentEvents } from '../../lib/board/recent-events.js';
import type { LockEvent } from '../../lib/index.js';

const entry = { at: 0, tone: 'plain', keys: [], text: '' } as const;
const add = (recent: RecentEvents, what: 'addReport' | 'addEvent', count = 1): void => {
  for (let i = 0; i < count; i++) recent[what]({ ...entry, what });
};

describe('The recent events', () => {
  it('are told once to a reader that says what it knows', () => {
    const recent = new RecentEvents();
    add(recent, 'addEvent', 3);
    expect(recent.since(0).map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(recent.since(2).map(({ id }) => id)).toEqual([3]);
    expect(recent.since(3)).toEqual([]);
  });

  it('stay few, however many there were', () => {
    const recent = new RecentEvents();
    add(recent, 'addEvent', 100_000);
    add(recent, 'addReport', 100_000);
    expect(recent.all()).toHaveLength(150);
    expect(recent.last).toBe(200_000);
    type Inside = Record<'reports' | 'events', { items: readonly unknown[] }>;
    const { reports, events } = recent as unknown as Inside;
    expect(reports.items.length + events.items.length).toBeLessThan(300);
  });

  it('keep a report however many locks were taken since', () => {
    const recent = new RecentEvents();
    add(recent, 'addReport');
    add(recent, 'addEvent', 10_000);
    expect(recent.all()[0]).toMatchObject({ id: 1, what: 'addReport' });
  });

  it('say how many are missing, at the place of the first', () => {
    const recent = new RecentEvents();
    add(recent, 'addEvent', 4);
    add(recent, 'addReport');
    add(recent, 'addEvent', 100);
    const events = recent.since(4);
    expect(events.slice(0, 3).map(({ id, what }) => [id, what])).toEqual([
      [5, 'addReport'],
      [6, '50 more'],
      [56, 'addEvent'],
    ]);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
  });
});

describe('The text of an event', () => {
  const base = { keys: ['a'], label: undefined, owner: 'rl:x', fencingToken: 1 };
  it.each<[LockEvent, string | undefined]>([
    [
      { ...base, type: 'acquired', limit: 1, confirmedBy: 1, waited: 12.3, confirmedIn: 0.54 },
      'confirmed by 1 replica in 0.5 ms, waited 12 ms',
    ],
    [{ ...base, type: 'contended', holder: 'rl:y', waited: 1000 }, 'still held by rl:y after 1000 ms'],
    [
      { ...base, type: 'contended', holder: undefined, waited: 20_000 },
      'still held by another owner after 20 s',
    ],
    [{ ...base, type: 'released', held: 5, answered: true }, 'held for 5.0 ms'],
    [{ ...base, type: 'ran', keepFor: 60_000 }, 'the result is kept for 60 s'],
    [{ ...base, type: 'kept', waited: 1 }, 'answered with the kept result of an earlier run'],
    [
      { ...base, type: 'released', held: 5, answered: true, keys: ['a', 'b', 'c', 'd', 'e', 'f', 'g'] },
      'and 2 more: held for 5.0 ms',
    ],
    // These are reports as well, or too many.
    [{ ...base, type: 'released', held: 5, answered: false }, undefined],
    [{ ...base, type: 'lost', held: 5, error: new Error('x') }, undefined],
    [{ ...base, type: 'elected', led: 0 }, undefined],
    [{ ...base, type: 'renewed', confirmedBy: 2, remainingTime: 1 }, undefined],
  ])('%#: $type', (event, text) => {
    expect(entryOfEvent(event, 7)?.text).toBe(text);
  });
});
