import type { Mutant } from './mutant.js';

const VIEW = 'lib/store/redis/replication/replica-view.ts';
const LINKS = 'lib/store/redis/replication/link-ages.ts';
const LONG_LEASES = 'lib/store/redis/replication/long-leases.ts';
const QUORUM = 'lib/store/redis/replication/quorum.ts';

/** Mutants of the counting of replicas, of quarantines and of long leases. */
export const REPLICATION_MUTANTS: readonly Mutant[] = [
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
        ['if (lines.size === info.lines.length) {', 'if (lines.size > 0) {'],
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
          'const old = countOlderThan(this.linkAges, since);',
          'const old = (this as { once?: boolean }).once ? Infinity : countOlderThan(this.linkAges, since);',
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
        ['Math.max(acknowledgingLinks(certain), this.linkAges.madeAt.length)', 'acknowledgingLinks(certain)'],
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
    name: 'a majority is no longer needed',
    changes: { [QUORUM]: [['return Math.ceil(replicas / 2);', 'return Math.min(1, replicas);']] },
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
    name: 'a replica in full sync is counted as online',
    faults: 'returns slowly',
    changes: { [QUORUM]: [['if (!online || !isReplica) continue;', 'if (!isReplica) continue;']] },
  },
];
