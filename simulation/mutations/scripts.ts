import type { Mutant } from './mutant.js';

/** Mutants of the simulated scripts and of the times that the scripts get. */
export const SCRIPTS_MUTANTS: readonly Mutant[] = [
  {
    name: 'a renewal creates its key',
    caughtBy: "test/store/contract.ts, 'never creates a key'",
    changes: {
      'simulation/scripts.ts': [
        [
          'const tokens = own.map((key) => tokenOf(data.get(key), owner, mark));',
          'const tokens = own.map((key) => tokenOf(data.get(key) ?? `${owner} ${data.now()}`, owner, mark));',
        ],
      ],
    },
  },
  {
    name: 'take-back by deletion',
    caughtBy: "test/store/contract.ts, 'keep the token of a released lock for a while'",
    changes: {
      'simulation/scripts.ts': [
        [
          "else if (cooldown === '0') write(data, key, token, Number(tombstone));",
          "else if (cooldown === '0') write(data, key, token, 0 * Number(tombstone));",
        ],
      ],
    },
  },
  {
    name: 'keys expire without the allowance for clocks',
    changes: {
      'lib/store/redis/master/new-requests.ts': [
        ['return Math.ceil(leaseTime + clockSkew);', 'return Math.ceil(leaseTime + 0 * clockSkew);'],
      ],
    },
  },
  {
    name: 'any bare token shows that a release has run',
    caughtBy: "test/simulation/scripts.spec.ts, 'does what the script does on a real server'",
    changes: {
      'simulation/scripts.ts': [
        ['if (value !== lockToken) ours = 0;', 'if (!/^\\d{16}$/.test(value ?? "")) ours = 0;'],
      ],
    },
  },
  {
    name: 'SET comes first when memory is full',
    faults: 'memory full',
    changes: {
      'simulation/script-data.ts': [['    data.pexpire(key, px);\n', '    data.set(key, value, px);\n']],
    },
  },
];
