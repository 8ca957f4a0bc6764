/** One broken rule of the protocol. */
export interface Mutant {
  readonly name: string;
  /** For each file: code that occurs there once, and the code that replaces it. */
  readonly changes: Readonly<Record<string, readonly (readonly [sound: string, broken: string])[]>>;
  /** Words of the names of the faults that reveal the mutant. Undefined: all faults. */
  readonly faults?: string;
  /** The test that notices the mutant if the simulation cannot. */
  readonly caughtBy?: string;
}

const GROUP_COMMIT = 'lib/store/redis/commit/group-commit.ts';
const OPEN_REQUESTS = 'lib/store/redis/commit/open-requests.ts';
const DEADLINES = 'lib/store/redis/commit/request-deadlines.ts';
const VERDICTS = 'lib/store/redis/commit/verdicts.ts';
const VIEW = 'lib/store/redis/replication/replica-view.ts';
const LINKS = 'lib/store/redis/replication/link-ages.ts';
const LONG_LEASES = 'lib/store/redis/replication/long-leases.ts';
const OUTBOX = 'lib/store/redis/commit/release-outbox.ts';
const SESSION = 'lib/store/redis/connection/session.ts';
const IN_FLIGHT = 'lib/store/redis/commit/groups-in-flight.ts';
const ENDING = 'lib/store/redis/commit/wait-ending.ts';
const QUORUM = 'lib/store/redis/replication/quorum.ts';

export const MUTANTS: readonly Mutant[] = [
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
    name: 'replicas that are listed are counted instead of known replicas',
    changes: {
      [VIEW]: [
        [
          'return this.knownReplicas.addresses.size + hidden;',
          'return this.certain.acknowledged.size + hidden;',
        ],
      ],
    },
  },
  {
    name: 'a replica is counted twice',
    caughtBy:
      "test/store/redis/replication/quorum.spec.ts, 'counts a replica once, and a replica in full sync or a reader of the stream never'",
    changes: {
      [QUORUM]: [
        [
          'offsets.set(name, Math.max(offset, offsets.get(name) ?? 0));',
          'offsets.set(offsets.has(name) ? `${name} again` : name, offset);',
        ],
      ],
    },
  },
  {
    name: 'replicas that share an address are counted as one',
    caughtBy:
      "test/store/redis/replication/addresses.spec.ts, 'Two lines of one address' and 'are counted by their connections'",
    changes: {
      'lib/store/redis/replication/shared-addresses.ts': [
        ['if (lines.size === info.links.length) {', 'if (lines.size > 0) {'],
      ],
    },
  },
  {
    name: 'every unnamed replica is taken for a named replica with another address',
    caughtBy: "test/store/redis/replication/addresses.spec.ts, 'count as strangers'",
    changes: {
      'lib/store/redis/replication/known-replicas.ts': [
        ['if (strangers.length <= following.length)', 'if (strangers.length > 0)'],
      ],
    },
  },
  {
    name: 'no quarantine',
    changes: {
      [VIEW]: [['if (this.quarantine === 0 || majority === 0) return true;', 'return majority >= 0;']],
    },
  },
  {
    name: 'the age of links is checked once for each master',
    changes: {
      [VIEW]: [
        [
          'const old = countOlderThan(this.links, since);',
          'const old = (this as { once?: boolean }).once ? Infinity : countOlderThan(this.links, since);',
        ],
        [
          'return agedAtLeast(confirmed, this.countingLinks, old) >= majority;',
          'return ((this as { once?: boolean }).once = agedAtLeast(confirmed, this.countingLinks, old) >= majority);',
        ],
      ],
    },
  },
  {
    name: 'the links of a replica in full sync lend their age to others',
    changes: {
      [LINKS]: [
        ["return flags.includes('C');", "return flags === 'never';"],
        ["return command === 'psync' || command === 'sync';", "return command === 'never';"],
        ['if (count <= 0) return madeAt;', 'if (count <= now) return madeAt;'],
      ],
      [VIEW]: [
        ['Math.max(acknowledgingLinks(certain), this.links.madeAt.length)', 'acknowledgingLinks(certain)'],
      ],
    },
  },
  {
    name: 'a replica in full sync counts against those that confirmed',
    changes: {
      [LINKS]: [["return command === 'psync' || command === 'sync';", "return command === 'never';"]],
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
          'const inTime = request.heldUntil.remaining(this.clock) > 0 && validity.remaining(this.clock) > 0;',
          'const inTime = validity.remaining(this.clock) > 0;',
        ],
      ],
      [DEADLINES]: [
        [
          "if (request.kind === 'renew') return now + request.heldUntil.remaining(this.clock);",
          "if (request.kind === 'renew') return Infinity;",
        ],
      ],
    },
  },
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
          "else if (cooldown === '0') write(data, key, token, TOMBSTONE_TIME);",
          "else if (cooldown === '0') write(data, key, token, 0 * TOMBSTONE_TIME);",
        ],
      ],
    },
  },
  {
    name: 'keys expire without the allowance for clocks',
    changes: {
      'lib/store/redis/master/master.ts': [
        [
          'return Math.ceil(leaseTime + this.settings.clockSkew);',
          'return Math.ceil(leaseTime + 0 * this.settings.clockSkew);',
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
          'if (mayBeWritten) void this.outbox.add(',
          'if (mayBeWritten && keys.length === 0) void this.outbox.add(',
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
      "test/store/redis/connection/lost-connections.spec.ts, 'keeps the key free when the caller had given up' and 'is taken back behind it and not before'",
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
    name: 'a majority is no longer needed',
    changes: { [QUORUM]: [['return Math.ceil(replicas / 2);', 'return Math.min(1, replicas);']] },
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
    name: 'renewals by the calls of a timer instead of the time that has passed',
    changes: {
      'lib/lock/renewals.ts': [
        [
          'const turns = Math.round(instant);',
          'const turns = Math.min(Math.round(instant), this.turns + 1);',
        ],
      ],
    },
  },
  {
    name: 'a long lease that was met is waited for by every key',
    changes: {
      [LONG_LEASES]: [['for (const key of keys) {', 'for (const key of this.byKey.keys()) {']],
    },
  },
  {
    name: 'a long lease that was met is not waited for',
    changes: {
      [LONG_LEASES]: [
        ['if (this.byKey.size === 0) return Infinity;', 'if (this.byKey.size >= 0) return Infinity;'],
      ],
    },
  },
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
    name: 'CLIENT UNBLOCK before the INFO behind the scripts is answered',
    faults: 'hung replica',
    changes: {
      [ENDING]: [["this.waits.push('ahead');", "this.waits.push('open');"]],
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
    changes: {
      [ENDING]: [
        ["return this.unblock === 'none';", "return this.unblock !== 'none' || this.unblock === 'none';"],
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
    name: 'a release whose answer was lost counts as a loss when it is sent again',
    faults: 'answers lost',
    changes: {
      [OUTBOX]: [['reply[index] === 1 || release.mayHaveRun', 'reply[index] === 1']],
      'simulation/scripts.ts': [['if (value !== lockToken) ours = 0;', 'ours = 0;']],
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
    name: 'a refused release refuses the whole batch',
    faults: 'key forbidden',
    changes: {
      [OUTBOX]: [
        ['if (batch.length > 1 && mayBlameOne(error)) {', 'if (batch.length > 1 && batch.length === 0) {'],
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
    name: 'SET comes first when memory is full',
    faults: 'memory full',
    changes: {
      'simulation/scripts.ts': [['    data.pexpire(key, px);\n', '    data.set(key, value, px);\n']],
    },
  },
  {
    name: 'a release is not sent again when the server has lost its script',
    faults: 'scripts flushed',
    changes: {
      [OUTBOX]: [
        [
          `      session.forgetScript(releaseScript);
      this.sendAgain(batch);`,
          '      session.forgetScript(releaseScript);',
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
  {
    name: 'a lock that was granted late is not renewed at once',
    faults: 'busy event loop',
    changes: {
      'lib/lock/held-locks.ts': [
        [
          'if (lock.wasGrantedLate) lock.startKeeping();',
          'if (lock.wasGrantedLate && lock.hasEnded) lock.startKeeping();',
        ],
      ],
    },
  },
  {
    name: 'a replica in full sync is counted as online',
    faults: 'returns slowly',
    changes: { [QUORUM]: [['if (!online || !isReplica) continue;', 'if (!isReplica) continue;']] },
  },
];
