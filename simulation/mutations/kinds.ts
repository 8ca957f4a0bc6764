import type { Mutant } from './mutant.js';

/** Mutants of elections and of work that runs once. */
export const KINDS_MUTANTS: readonly Mutant[] = [
  {
    name: 'a term is given back before its work has ended',
    changes: {
      'lib/lock/term.ts': [
        ['while (this.works.size > 0 && !this.lock.hasEnded)', 'while (this.works.size < 0)'],
        ['await leave(this.lock, undefined).catch(() => {});', 'await this.lock.release().catch(() => {});'],
      ],
    },
  },
  {
    name: 'a leader believes in its term after the lease has ended',
    faults: 'worker freezes',
    changes: {
      'lib/lock/election.ts': [
        ["this.state.kind === 'leading' && this.state.term.lock.held ?", "this.state.kind === 'leading' ?"],
      ],
    },
  },
  {
    name: 'a result that was not confirmed counts as kept',
    changes: {
      'lib/lock/held-lock.ts': [
        [
          `const outcome = await this.host.store.renew(this, keepFor, toKeep).outcome;
    if (outcome.kind === 'renewed') {`,
          `const outcome = await this.host.store.renew(this, keepFor, toKeep).outcome;
    if (outcome.kind !== 'gone') {`,
        ],
      ],
    },
  },
  {
    name: 'the failure of work that runs once is kept',
    changes: {
      'lib/lock/run-once.ts': [
        [
          'resultText(key, await work(lock))',
          'resultText(key, await Promise.resolve(work(lock)).catch((error: unknown) => String(error)))',
        ],
      ],
    },
  },
  {
    name: 'a result is kept without a comparison of the owner',
    changes: {
      'lib/store/redis/scripts/keep.ts': [
        ['if sub(value, 1, #own) == own then', 'if sub(value, 1, #own) then'],
      ],
    },
    caughtBy: "test/store/kept-contract.ts, 'is never kept by an owner that has lost the key'",
  },
];
