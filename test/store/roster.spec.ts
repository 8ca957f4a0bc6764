import { describe, expect, it } from '@jest/globals';
import { NO_PLACE, Roster } from '../../lib/store/roster.js';

interface Item {
  readonly name: number;
  place: number;
}

describe('A roster', () => {
  it('holds what a Set would hold, after any adding and removing', () => {
    const items = Array.from({ length: 40 }, (_, name): Item => ({ name, place: NO_PLACE }));
    const roster = new Roster<'place', Item>('place');
    const set = new Set<Item>();
    for (let i = 0; i < 2_000; i++) {
      const item = items[(i * 7919) % 37]!;
      if ((i * 31) % 5 < 3) {
        roster.add(item);
        set.add(item);
      } else {
        roster.delete(item);
        set.delete(item);
      }
      expect(roster.size).toBe(set.size);
    }
    const byName = (all: Iterable<Item>): number[] =>
      [...all].map(({ name }) => name).toSorted((a, b) => a - b);
    expect(byName(roster)).toEqual(byName(set));
    roster.clear();
    expect(items.every(({ place }) => place === NO_PLACE)).toBe(true);
  });

  it('shows a loop all that were in it when the loop began, though it removes them', () => {
    const items = Array.from({ length: 5 }, (_, name): Item => ({ name, place: NO_PLACE }));
    const roster = new Roster<'place', Item>('place');
    for (const item of items) roster.add(item);
    const seen: number[] = [];
    for (const item of roster) {
      seen.push(item.name);
      roster.delete(item);
    }
    expect(seen).toEqual([0, 1, 2, 3, 4]);
    expect(roster.size).toBe(0);
  });
});
