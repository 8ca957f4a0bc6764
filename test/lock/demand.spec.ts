import { describe, expect, it } from '@jest/globals';
import { needsAtLeast, type Demand } from '../../lib/lock/demand.js';
import type { ReplicaPolicy } from '../../lib/store/lock-store.js';

const demand = (
  replicas: ReplicaPolicy,
  { keys = ['k'], replicaTimeout = 1_000, leaseTime = 15_000 } = {},
): Demand => ({ sorted: keys, options: { replicas, replicaTimeout, leaseTime, limit: 1 } });

describe('A demand needs at least as much as another', () => {
  it.each<[string, Demand, Demand, boolean]>([
    ['the same', demand('all'), demand('all'), true],
    ['all, after a majority', demand('all'), demand('majority'), true],
    ['a majority, after all', demand('majority'), demand('all'), false],
    ['a number, after a majority', demand(2), demand('majority'), true],
    ['a number, after none', demand(2), demand(0), true],
    ['a majority, after a number', demand('majority'), demand(2), false],
    ['a greater number', demand(3), demand(2), true],
    ['a smaller number', demand(1), demand(2), false],
    ['all, after a number: which is more is not known', demand('all'), demand(2), false],
    ['a number, after all', demand(2), demand('all'), false],
    ['less time for confirmations', demand('all', { replicaTimeout: 500 }), demand('all'), true],
    ['more time for confirmations', demand('all', { replicaTimeout: 5_000 }), demand('all'), false],
    ['another lease', demand('all', { leaseTime: 60_000 }), demand('all'), true],
    [
      'a lease that leaves less time for confirmations',
      demand('all', { leaseTime: 900 }),
      demand('all'),
      true,
    ],
    ['a lease that leaves more', demand('all'), demand('all', { leaseTime: 900 }), false],
    ['more keys', demand('all', { keys: ['a', 'b', 'k'] }), demand('all'), true],
    ['fewer keys', demand('all'), demand('all', { keys: ['k', 'l'] }), false],
    ['other keys', demand('all', { keys: ['a', 'k'] }), demand('all', { keys: ['b', 'k'] }), false],
    ['the same keys', demand(1, { keys: ['a', 'k'] }), demand(1, { keys: ['a', 'k'] }), true],
  ])('%s', (_, one, other, expected) => {
    expect(needsAtLeast(one, other)).toBe(expected);
  });
});
