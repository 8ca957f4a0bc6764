import type { Mutant } from './mutant.js';

const GROUP_COMMIT = 'lib/store/redis/commit/group-commit.ts';
const OPEN_REQUESTS = 'lib/store/redis/commit/open-requests.ts';
const DEADLINES = 'lib/store/redis/commit/request-deadlines.ts';
const VERDICTS = 'lib/store/redis/commit/verdicts.ts';
const OUTBOX = 'lib/store/redis/commit/release-outbox.ts';
const IN_FLIGHT = 'lib/store/redis/commit/groups-in-flight.ts';
const UNBLOCK_RULES = 'lib/store/redis/commit/unblock-rules.ts';

/** Mutants of groups, requests, releases and the ending of WAIT. */
export const COMMIT_MUTANTS: readonly Mutant[] = [
  {
    name: 'WAIT is sent again on the next connection',
    // A request that was written before the connection ended counts as written on the next
    // connection: the next WAIT and INFO decide.
    changes: {
      [OPEN_REQUESTS]: [
        [
          `      request.mayBeWritten = true;
      if (request.kind === 'acquire' && request.abandoned)`,
          `      request.mayBeWritten = true;
      if (request.stage === 'written') { if (request.group) (request.group as { offset: number }).offset = 0; continue; }
      if (request.kind === 'acquire' && request.abandoned)`,
        ],
      ],
    },
  },
  {
    name: 'the age of links is taken when decided instead of when sent',
    caughtBy:
      "test/store/redis/replication/quorum.spec.ts, 'needs links that are older than the quarantine at the moment of sending'",
    changes: {
      [VERDICTS]: [
        [
          'return view.judge(demand, offset, group?.start.monotonic ?? 0, standingSince);',
          'return view.judge(demand, offset, this.clock.monotonic(), standingSince);',
        ],
      ],
    },
  },
  {
    name: 'validity counts from the answer instead of the request',
    changes: {
      [OPEN_REQUESTS]: [
        [
          'const validity = Validity.since(group.start, request.leaseTime);',
          'const validity = Validity.ofLease(request.leaseTime, this.clock);',
        ],
      ],
    },
  },
  {
    name: 'a confirmation after the deadline still renews',
    caughtBy:
      "test/store/redis/commit/confirmation.spec.ts, 'is expired, not renewed, if the confirmation comes after the lease'",
    changes: {
      [OPEN_REQUESTS]: [
        [
          'const inTime = request.heldValidity.remaining(this.clock) > 0 && validity.remaining(this.clock) > 0;',
          'const inTime = validity.remaining(this.clock) > 0;',
        ],
      ],
      [DEADLINES]: [
        [
          "if (request.kind === 'renew') return now + request.heldValidity.remaining(this.clock);",
          "if (request.kind === 'renew') return Infinity;",
        ],
      ],
    },
  },
  {
    name: 'no take-back, and no CLIENT KILL',
    caughtBy:
      "test/store/redis/commit/confirmation.spec.ts, 'is taken back at once', and lost-connections.spec.ts, 'never runs'",
    changes: {
      [OPEN_REQUESTS]: [
        [
          'if (request.mayBeWritten) void this.outbox.add(',
          'if (request.mayBeWritten && request.keys.length === 0) void this.outbox.add(',
        ],
      ],
      'lib/store/redis/connection/open-session.ts': [
        ['sameRun && ask(control', 'sameRun && !sameRun && ask(control'],
      ],
    },
  },
  {
    name: 'a take-back before CLIENT KILL',
    caughtBy:
      "test/store/redis/connection/lost-connections.spec.ts, 'keeps the key free if the caller had given up' and 'is taken back behind its script and not before'",
    changes: {
      [OPEN_REQUESTS]: [
        [
          "if (request.stage !== 'sent') this.takeBack(request);",
          'request.mayBeWritten = true; this.takeBack(request);',
        ],
      ],
      'lib/store/redis/connection/open-session.ts': [
        ['sameRun && ask(control', 'sameRun && !sameRun && ask(control'],
      ],
    },
  },
  {
    name: 'a key that was lost before a late confirmation is granted unseen',
    caughtBy:
      "test/store/redis/commit/confirmation.spec.ts, 'is asked for again if another program took the key meanwhile'",
    changes: {
      [OPEN_REQUESTS]: [
        [
          'else if (this.clock.monotonic() - group.start.monotonic > PROMPT_TIME)',
          'else if (request.keys.length === 0)',
        ],
      ],
    },
  },
  {
    name: 'a busy answer beside a full count is a grant',
    changes: {
      [OPEN_REQUESTS]: [
        [
          "      else if (answer.kind === 'busy') {",
          "      else if (answer.kind === 'busy') { request.stage = 'written'; this.pending.add(request); } else if (answer.kind === 'busy') {",
        ],
      ],
    },
  },
  {
    name: 'CLIENT UNBLOCK before the INFO behind the scripts is answered',
    faults: 'hung replica',
    changes: {
      [UNBLOCK_RULES]: [["this.waits.push('ahead');", "this.waits.push('open');"]],
      [IN_FLIGHT]: [
        [
          'const blockedSince = this.groups[0]?.writtenAt;',
          'const blockedSince = this.groups[0]?.start.monotonic;',
        ],
      ],
    },
  },
  {
    name: 'a group is sent behind a CLIENT UNBLOCK without an answer',
    faults: 'hung replica',
    caughtBy:
      "test/store/redis/commit/groups-in-flight.spec.ts, 'send nothing while an UNBLOCK is unanswered, and then everything in order'",
    changes: {
      [UNBLOCK_RULES]: [
        ["return this.unblock === 'none';", "return this.unblock !== 'none' || this.unblock === 'none';"],
      ],
    },
  },
  {
    name: 'a release whose answer was lost counts as a loss when it is sent again',
    faults: 'answers lost',
    changes: {
      [OUTBOX]: [
        [
          'scripts.release.decode(reply[index]) || release.mayHaveRun',
          'scripts.release.decode(reply[index])',
        ],
      ],
      'simulation/scripts.ts': [['if (value !== lockToken) ours = 0;', 'ours = 0;']],
    },
  },
  {
    name: 'a refused release refuses the whole batch',
    faults: 'key forbidden',
    changes: {
      [OUTBOX]: [
        ['if (items.length > 1 && mayBlameOne(error)) {', 'if (items.length > 1 && items.length === 0) {'],
      ],
    },
  },
  {
    name: 'a refused acquisition refuses the whole group',
    faults: 'key forbidden',
    changes: {
      [OPEN_REQUESTS]: [['else if (together && mayBlameOne(error)) {', 'else if (together && !together) {']],
    },
  },
  {
    name: 'a release is not sent again when the server has lost its script',
    faults: 'scripts flushed',
    changes: {
      [OUTBOX]: [
        [
          `      session.forgetScript(scripts.release);
      this.sendAgain(items);`,
          '      session.forgetScript(scripts.release);',
        ],
      ],
    },
  },
  {
    name: 'a late renewal waits for the answers to the group in flight',
    faults: 'busy event loop',
    caughtBy: "test/store/redis/commit/late-renewal.spec.ts, 'is sent behind that group'",
    changes: {
      [GROUP_COMMIT]: [
        ['(inFlight.takesOverdue && this.isRenewalOverdue)', '(this.isRenewalOverdue && inFlight.isEmpty)'],
      ],
    },
  },
];
