import { describe, expect, it } from '@jest/globals';
import { NO_INDEX, IntrusiveSet } from '../../lib/common/intrusive-set.js';

interface Item {
  readonly name: number;
  index: number;
}

describe('An intrusive set', () => {
  it('holds what a Set would hold, after any adding and removing', () => {
    const items = Array.from({ length: 40 }, (_, name): Item => ({ name, index: NO_INDEX }));
    const intrusive = new IntrusiveSet<'index', Item>('index');
    const set = new Set<Item>();
    for (let i = 0; i < 2_000; i++) {
      const item = items[(i * 7919) % 37]!;
      if ((i * 31) % 5 < 3) {
        intrusive.add(item);
        set.add(item);
      } else {
        intrusive.delete(item);
        set.delete(item);
      }
      expect(intrusive.size).toBe(set.size);
    }
    const byName = (all: Iterable<Item>): number[] =>
      [...all].map(({ name }) => name).toSorted((a, b) => a - b);
    expect(byName(intrusive)).toEqual(byName(set));
    intrusive.clear();
    expect(items.every(({ index }) => index === NO_INDEX)).toBe(true);
  });

  it('shows a loop all that were in it when the loop began, though it removes them', () => {
    const items = Array.from({ length: 5 }, (_, name): Item => ({ name, index: NO_INDEX }));
    const intrusive = new IntrusiveSet<'index', Item>('index');
    for (const item of items) intrusive.add(item);
    const seen: number[] = [];
    for (const item of intrusive) {
      seen.push(item.name);
      intrusive.delete(item);
    }
    expect(seen).toEqual([0, 1, 2, 3, 4]);
    expect(intrusive.size).toBe(0);
  });
});
