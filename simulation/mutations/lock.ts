import type { Mutant } from './mutant.js';

/** Mutants of owners, renewals and held locks. */
export const LOCK_MUTANTS: readonly Mutant[] = [
  {
    name: 'the same owner after a take-back',
    changes: {
      'lib/lock/acquisition.ts': [
        [
          'const owner = owners.next();',
          'const owner = ((this as { owner?: string }).owner ??= owners.next());',
        ],
      ],
    },
  },
  {
    name: 'renewals by the calls of a timer instead of the time that has passed',
    changes: {
      'lib/lock/renewals.ts': [
        ['const target = Math.round(step);', 'const target = Math.min(Math.round(step), this.steps + 1);'],
      ],
    },
  },
  {
    name: 'a lock that was granted late is not renewed at once',
    faults: 'busy event loop',
    changes: {
      'lib/lock/held-locks.ts': [
        [
          'if (lock.wasGrantedLate) lock.startUpkeep();',
          'if (lock.wasGrantedLate && lock.hasEnded) lock.startUpkeep();',
        ],
      ],
    },
  },
];
