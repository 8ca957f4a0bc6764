import type { Mutant } from './mutant.js';

const SESSION = 'lib/store/redis/connection/session.ts';

/** Mutants of connections: their time limits, PINGs and the replies to a session. */
export const CONNECTION_MUTANTS: readonly Mutant[] = [
  {
    name: 'CLIENT UNBLOCK without ERROR',
    faults: 'rush',
    changes: {
      [SESSION]: [
        ["['client', 'unblock', this.run.commitId, 'error']", "['client', 'unblock', this.run.commitId]"],
      ],
    },
  },
  {
    name: 'UNBLOCKED is taken for an ordinary answer',
    faults: 'rush',
    caughtBy:
      "test/store/redis/commit/paused-server.spec.ts, 'does no harm: that group is sent again by the same owners'",
    changes: {
      [SESSION]: [
        [
          "if (isUnblocked(reply) && commands[index]![0] !== 'wait') {",
          "if (isUnblocked(reply) && commands[index]![0] === 'never') {",
        ],
      ],
    },
  },
  {
    name: 'a connection is given up before its sockets were read',
    faults: 'busy event loop',
    changes: {
      'lib/store/redis/connection/monitored-connection.ts': [
        ['else if (this.lastChanceFor !== this.quietSince) {', 'else if (this.lastChanceFor === Infinity) {'],
        ['} else this.clock.afterTurn(() => this.checkAgain(dueAt));', '} else this.checkAgain(dueAt);'],
      ],
    },
  },
  {
    name: 'nothing is sent on idle connections',
    changes: { [SESSION]: [['const PING_AFTER = 500;', 'const PING_AFTER = Infinity;']] },
  },
  {
    name: 'connecting has no time limit',
    faults: 'silent master',
    changes: {
      'lib/store/redis/connection/connecting.ts': [
        ['afterFreeTime(clock, connectTimeout, () =>', 'afterFreeTime(clock, Infinity, () =>'],
      ],
    },
  },
];
