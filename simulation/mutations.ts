/** One rule of the protocol, broken. */
export interface Mutant {
  readonly name: string;
  /** For each file: what stands there once, and what stands there instead. */
  readonly changes: Readonly<Record<string, readonly (readonly [sound: string, broken: string])[]>>;
  /** Words of the names of the faults that show it; all faults, if there are none. */
  readonly faults?: string;
  /** Who notices, where the simulation cannot: what it lacks is said in its own words. */
  readonly caughtBy?: string;
}

const LANE = 'lib/store/redis/commit-lane.ts';
const VIEW = 'lib/store/redis/replica-view.ts';
const LINKS = 'lib/store/redis/link-ages.ts';
const QUARANTINE = 'lib/store/redis/quarantine.ts';
const RELEASES = 'lib/store/redis/releases.ts';
const SESSION = 'lib/store/redis/session.ts';
const FLIGHT = 'lib/store/redis/flight.ts';
const ENDING = 'lib/store/redis/wait-ending.ts';
const QUORUM = 'lib/store/redis/quorum.ts';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'WAIT is sent again on the next connection',
    // What was written before the connection ended is taken for written on the next one: its WAIT and INFO decide.
    changes: {
      [LANE]: [
        [
          `      request.mayBeWritten = true;
      if (request.kind === 'acquire' && request.abandoned)`,
          `      request.mayBeWritten = true;
      if (request.stage === 'written') { if (request.round) (request.round as { offset: number }).offset = 0; continue; }
      if (request.kind === 'acquire' && request.abandoned)`,
        ],
      ],
    },
  },
  {
    name: 'replicas that are listed are counted instead of members',
    changes: {
      [VIEW]: [
        ['return this.members.addresses.size + hidden;', 'return this.certain.acknowledged.size + hidden;'],
      ],
    },
  },
  {
    name: 'a replica is counted twice',
    caughtBy:
      "test/store/redis/quorum.spec.ts, 'counts a replica once, an unfinished one and a reader of the stream never'",
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
      "test/store/redis/addresses.spec.ts, 'Two lines of one address' and 'are counted by their connections'",
    changes: {
      'lib/store/redis/shared-addresses.ts': [
        ['if (lines.size === info.links.length) {', 'if (lines.size > 0) {'],
      ],
    },
  },
  {
    name: 'every replica that nobody names is taken for one that is named otherwise',
    caughtBy: "test/store/redis/addresses.spec.ts, 'count as strangers'",
    changes: {
      'lib/store/redis/members.ts': [
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
    name: 'the age of links is looked at once for each master',
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
      "test/store/redis/quorum.spec.ts, 'needs links that are older than the quarantine at the moment of sending'",
    changes: {
      [LANE]: [
        [
          'return view.judge(demand, offset, round?.start.monotonic ?? 0, standingSince);',
          'return view.judge(demand, offset, this.clock.monotonic(), standingSince);',
        ],
      ],
    },
  },
  {
    name: 'validity counts from the answer instead of the request',
    changes: {
      [LANE]: [
        [
          'const validity = Validity.since(round.start, request.leaseTime);',
          'const validity = Validity.ofLease(request.leaseTime, this.clock);',
        ],
      ],
    },
  },
  {
    name: 'a confirmation after the deadline still renews',
    caughtBy:
      "test/store/redis/confirmation.spec.ts, 'is expired, not renewed, when the confirmation comes after the lease'",
    changes: {
      [LANE]: [
        [
          'const inTime = request.heldUntil.remaining(this.clock) > 0 && validity.remaining(this.clock) > 0;',
          'const inTime = validity.remaining(this.clock) > 0;',
        ],
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
          "else if (keepFor === '0') write(data, key, token, TOMBSTONE_TIME);",
          "else if (keepFor === '0') write(data, key, token, 0 * TOMBSTONE_TIME);",
        ],
      ],
    },
  },
  {
    name: 'keys expire without the allowance for clocks',
    changes: {
      'lib/store/redis/master.ts': [
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
      "test/store/redis/confirmation.spec.ts, 'is taken back at once', and lost-connections.spec.ts, 'never runs'",
    changes: {
      [LANE]: [
        [
          'if (mayBeWritten) void this.releases.add(',
          'if (mayBeWritten && keys.length === 0) void this.releases.add(',
        ],
      ],
      'lib/store/redis/open-session.ts': [['sameRun && ask(control', 'sameRun && !sameRun && ask(control']],
    },
  },
  {
    name: 'a take-back before CLIENT KILL',
    caughtBy:
      "test/store/redis/lost-connections.spec.ts, 'keeps the key free when the caller had given up' and 'is taken back behind it and not before'",
    changes: {
      [LANE]: [
        [
          "if (request.stage !== 'sent') this.takeBack(request);",
          'request.mayBeWritten = true; this.takeBack(request);',
        ],
      ],
      'lib/store/redis/open-session.ts': [['sameRun && ask(control', 'sameRun && !sameRun && ask(control']],
    },
  },
  {
    name: 'a majority is no longer needed',
    changes: { [QUORUM]: [['return Math.ceil(members / 2);', 'return Math.min(1, members);']] },
  },
  {
    name: 'a key that was lost before a late confirmation is granted unseen',
    caughtBy: "test/store/redis/confirmation.spec.ts, 'is asked again when somebody took its key meanwhile'",
    changes: {
      [LANE]: [
        [
          'else if (this.clock.monotonic() - round.start.monotonic > PROMPT)',
          'else if (request.keys.length === 0)',
        ],
      ],
    },
  },
  {
    name: 'a busy answer beside a full count is a grant',
    changes: {
      [LANE]: [
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
      [QUARANTINE]: [['for (const key of keys) {', 'for (const key of this.byKey.keys()) {']],
    },
  },
  {
    name: 'a long lease that was met is not waited for',
    changes: {
      [QUARANTINE]: [
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
      [FLIGHT]: [
        [
          'const blockedSince = this.out[0]?.writtenAt;',
          'const blockedSince = this.out[0]?.start.monotonic;',
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
    name: 'UNBLOCKED is an answer like any other',
    faults: 'rush',
    caughtBy:
      "test/store/redis/paused-server.spec.ts, 'does no harm: that group is asked again by the same owners'",
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
    name: 'a release that has run, without its answer, is a loss when it is sent again',
    faults: 'answers lost',
    changes: {
      [RELEASES]: [['reply[index] === 1 || release.mayHaveRun', 'reply[index] === 1']],
      'simulation/scripts.ts': [['if (value !== lockToken) ours = 0;', 'ours = 0;']],
    },
  },
  {
    name: 'any bare token shows that a release has run',
    caughtBy: "test/simulation/simulation.spec.ts, 'do what the Lua scripts do on a real server'",
    changes: {
      'simulation/scripts.ts': [
        ['if (value !== lockToken) ours = 0;', 'if (!/^\\d{16}$/.test(value ?? "")) ours = 0;'],
      ],
    },
  },
  {
    name: 'one refused release refuses its neighbours',
    faults: 'key forbidden',
    changes: {
      [RELEASES]: [
        ['if (batch.length > 1 && mayBlameOne(error)) {', 'if (batch.length > 1 && batch.length === 0) {'],
      ],
    },
  },
  {
    name: 'one refused acquisition refuses its neighbours',
    faults: 'key forbidden',
    changes: {
      [LANE]: [['else if (together && mayBlameOne(error)) {', 'else if (together && !together) {']],
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
      [RELEASES]: [
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
      'lib/store/redis/monitored-connection.ts': [
        ['else if (this.lastChanceFor !== this.quietSince) {', 'else if (this.lastChanceFor === Infinity) {'],
        ['} else this.clock.afterTurn(() => this.lookAgain(dueAt));', '} else this.lookAgain(dueAt);'],
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
      'lib/store/redis/connecting.ts': [
        ['afterFreeTime(clock, connectTimeout, () =>', 'afterFreeTime(clock, Infinity, () =>'],
      ],
    },
  },
  {
    name: 'a late renewal waits for the answers to the group that is out',
    faults: 'busy event loop',
    caughtBy: "test/store/redis/late-renewal.spec.ts, 'is sent behind that group'",
    changes: {
      [LANE]: [
        ['(flight.mayTakeAnother && this.isRenewalOverdue)', '(this.isRenewalOverdue && flight.isEmpty)'],
      ],
    },
  },
  {
    name: 'a lock that was granted late is renewed a turn later',
    faults: 'busy event loop',
    changes: {
      'lib/lock/lock-service.ts': [
        ['if (lock.wasGrantedLate) lock.keep();', 'if (lock.wasGrantedLate && lock.hasEnded) lock.keep();'],
      ],
    },
  },
  {
    name: 'a replica in full sync is counted as online',
    faults: 'returns slowly',
    changes: { [QUORUM]: [['if (!online || !isReplica) continue;', 'if (!isReplica) continue;']] },
  },
];
