import type { Mutant } from './mutant.js';

const FILE = 'simulation/permit-scripts.ts';

/** Mutants of the simulated scripts for keys with several holders. */
export const PERMITS_MUTANTS: readonly Mutant[] = [
  {
    name: 'an owner enters although a holder allows fewer',
    changes: {
      [FILE]: [
        [
          'let hasRoom = count < limit && count < b.least;',
          'let hasRoom = count < limit && (count === 0 || b.least > 1);',
        ],
      ],
    },
  },
  {
    name: 'an owner enters beside more holders than it allows',
    changes: {
      [FILE]: [
        [
          'let hasRoom = count < limit && count < b.least;',
          'let hasRoom = count <= limit && count < b.least;',
        ],
      ],
    },
  },
  {
    name: 'a renewal of a permit does not move its end',
    changes: {
      [FILE]: [['permit!.ends = ms + Number(ttl);', 'permit!.ends += 0 * Number(ttl);']],
    },
  },
  {
    name: 'the least limit is forgotten at a grant',
    changes: {
      [FILE]: [
        [
          "Object.assign(b, { least: limit, exact: '1' });",
          "Object.assign(b, { least: UNLIMITED, exact: '1' });",
        ],
      ],
    },
  },
  {
    name: 'no survey: permits that have ended stay in the way',
    caughtBy: "test/store/limit-contract.ts, 'that has ended makes room'",
    changes: {
      [FILE]: [['if (!hasRoom && (mayHaveEnded ||', 'if (!hasRoom && (mayHaveEnded === undefined ||']],
    },
  },
  {
    name: 'the least limit stays after its holder has left',
    caughtBy:
      "test/store/limit-contract.ts, 'that is stricter keeps others out only while its holder is inside'",
    changes: {
      [FILE]: [
        [
          "data.hset(key, { '': textOfBounds({ ...b, exact: '0' }) });",
          "data.hset(key, { '': textOfBounds(b) });",
        ],
      ],
    },
  },
  {
    name: 'an owner that asks again counts twice',
    caughtBy: "test/store/limit-contract.ts, 'is granted again as the same owner'",
    changes: {
      [FILE]: [['if (mine !== undefined) return', 'if (mine === own) return']],
    },
  },
  {
    name: 'a permit is kept by the expiry of the others',
    caughtBy: "test/store/limit-contract.ts, 'ends by its own lease, whatever keeps the key alive'",
    changes: {
      [FILE]: [['if (permit === undefined || permit.ends <= ms) {', 'if (permit === undefined) {']],
    },
  },
  {
    name: 'a waiting owner leaves no mark',
    caughtBy: "test/store/limit-contract.ts, 'keeps out owners with a larger limit'",
    changes: {
      [FILE]: [['const isMarked = wait > 0 &&', 'const isMarked = wait < 0 &&']],
    },
  },
  {
    name: 'a permit enters beside a mutex',
    changes: {
      [FILE]: [['if (!isBare && !isMine) return', "if (!isBare && !isMine && own === '') return"]],
    },
  },
  {
    name: 'a renewal extends a permit that has ended',
    caughtBy: "test/store/limit-contract.ts, 'is not renewed once it has ended, although the key is alive'",
    changes: {
      [FILE]: [['      permit.ends <= ms ||\n', '']],
    },
  },
  {
    name: 'a refusal does not tell the longest lease of a key',
    faults: 'long lease forgotten',
    changes: {
      [FILE]: [["if (permit?.mark === '') b.longest = Math.max(b.longest, permit.ends);", '']],
    },
  },
  {
    name: 'a long lease is forgotten when a permit is granted',
    faults: 'long lease forgotten',
    changes: {
      'lib/store/redis/replication/long-leases.ts': [
        ['this.byKey.size > 0 && limit === 1)', 'this.byKey.size > 0)'],
      ],
    },
  },
];
