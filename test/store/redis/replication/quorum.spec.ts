import { describe, expect, it } from '@jest/globals';
import { ErrorReply } from '../../../../lib/store/redis/resp.js';
import {
  countOlderThan,
  linkAgesFor,
  ListedLinkAges,
} from '../../../../lib/store/redis/replication/link-ages.js';
import {
  ObservedReplicas,
  AnnouncedReplicas,
} from '../../../../lib/store/redis/replication/known-replicas.js';
import {
  acknowledgedOffsets,
  agedAtLeast,
  countConfirmed,
  majorityOf,
  RENEWAL,
  requiredConfirmations,
} from '../../../../lib/store/redis/replication/quorum.js';
import { ReplicaView } from '../../../../lib/store/redis/replication/replica-view.js';
import {
  parseReplicaClients,
  parseReplicationInfo,
  type ReplicationInfo,
} from '../../../../lib/store/redis/replication/replication-info.js';

/** INFO replication of Redis 7 with these replicas. */
function infoText(...replicas: { port: number; state?: string; offset: number }[]): string {
  return [
    '# Replication',
    'role:master',
    `connected_slaves:${replicas.length}`,
    ...replicas.map(
      ({ port, state = 'online', offset }, i) =>
        `slave${i}:ip=10.0.0.1,port=${port},state=${state},offset=${offset},lag=0`,
    ),
    'master_failover_state:no-failover',
    'master_replid:8371445ec4d3e9f5d4f3ea1d3b2a9d37c44a8e5d',
    'master_replid2:0000000000000000000000000000000000000000',
    'master_repl_offset:1000',
    'second_repl_offset:-1',
    '',
  ].join('\r\n');
}

function info(...replicas: { port: number; state?: string; offset: number }[]): ReplicationInfo {
  return parseReplicationInfo(infoText(...replicas))!;
}

/** CLIENT LIST TYPE replica with these ids and ages in seconds. */
function clients(...ages: [id: number, age: number][]): string {
  return ages
    .map(
      ([id, age]) =>
        `id=${id} addr=10.0.0.1:4${id} laddr=10.0.0.9:6379 fd=9 name= age=${age} idle=0 flags=S db=0 cmd=replconf user=default\n`,
    )
    .join('');
}

describe('A majority of the servers, the master included', () => {
  it.each([
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 3],
  ])('of %i replicas needs %i of them', (replicas, needed) => {
    expect(majorityOf(replicas)).toBe(needed);
  });
});

describe('The confirmations that a grant needs', () => {
  it.each([
    ['all' as const, 2, 2, 2],
    ['all' as const, 2, 1, 1],
    ['all' as const, 3, 1, 2],
    ['all' as const, 0, 0, 1],
    ['majority' as const, 2, 2, 1],
    ['majority' as const, 5, 5, 3],
    ['majority' as const, 0, 0, 1],
    [2, 2, 2, 2],
    [1, 3, 3, 2],
    [3, 2, 2, 3],
    [0, 0, 0, 1],
  ])('%p of %i known replicas, %i online: %i', (policy, replicas, online, needed) => {
    expect(requiredConfirmations({ policy, allowNoReplicas: false }, replicas, online)).toBe(needed);
  });

  it.each(['all' as const, 'majority' as const, 0])(
    'are zero without replicas if that is allowed: %p',
    (policy) => {
      expect(requiredConfirmations({ policy, allowNoReplicas: true }, 0, 0)).toBe(0);
      expect(requiredConfirmations({ policy, allowNoReplicas: true }, 3, 3)).toBeGreaterThanOrEqual(2);
    },
  );

  it('are the majority alone for a renewal', () => {
    expect(requiredConfirmations(RENEWAL, 3, 3)).toBe(2);
    expect(requiredConfirmations(RENEWAL, 0, 0)).toBe(0);
  });
});

describe('INFO replication', () => {
  it('is read', () => {
    expect(info({ port: 7001, offset: 1000 }, { port: 7002, state: 'wait_bgsave', offset: 0 })).toEqual({
      role: 'master',
      replid: '8371445ec4d3e9f5d4f3ea1d3b2a9d37c44a8e5d',
      offset: 1000,
      lines: [
        { address: '10.0.0.1:7001', online: true, offset: 1000, silence: 0, isReplica: true },
        { address: '10.0.0.1:7002', online: false, offset: 0, silence: 0, isReplica: true },
      ],
    });
  });

  it.each([[undefined], [null], [''], ['role:master\r\n'], [new ErrorReply('NOPERM no')]])(
    'is missing in %p',
    (reply) => {
      expect(parseReplicationInfo(reply)).toBeUndefined();
    },
  );

  it('counts a replica once, and a replica in full sync or a reader of the stream never', () => {
    const offsets = acknowledgedOffsets(
      info(
        { port: 7001, offset: 500 },
        { port: 7001, offset: 1000 },
        { port: 7002, state: 'send_bulk', offset: 1000 },
        { port: 0, offset: 1000 },
      ),
    );
    expect(offsets).toEqual(new Map([['10.0.0.1:7001', 1000]]));
    expect(countConfirmed(offsets, 1000)).toBe(1);
    expect(countConfirmed(offsets, 1001)).toBe(0);
  });
});

describe('The age of a replication link', () => {
  const [one, two] = [info({ port: 1, offset: 9 }), info({ port: 1, offset: 9 }, { port: 2, offset: 9 })];

  it('is the age from CLIENT LIST less 6 s, or the time since the first poll that saw the link', () => {
    const links = new ListedLinkAges();
    links.observe(clients([1, 0], [2, 7], [3, 60]), 100_000, two);
    expect(links.madeAt).toEqual([100_000, 99_000, 46_000]);
    links.observe(clients([1, 3], [3, 63]), 103_500, two);
    expect(links.madeAt).toEqual([100_000, 46_000]);
    expect(countOlderThan(links, 99_999)).toBe(1);
    expect(countOlderThan(links, 100_000)).toBe(2);
  });

  it('is forgotten with the link', () => {
    const links = new ListedLinkAges();
    links.observe(clients([1, 50]), 100_000, one);
    links.observe(clients([2, 0]), 101_000, one);
    expect(links.madeAt).toEqual([101_000]);
    links.observe(new ErrorReply('NOPERM'), 102_000, one);
    expect(links.madeAt).toEqual([]);
  });

  it('counts from the first poll if CLIENT LIST is refused, and from every change of the counters', () => {
    const links = linkAgesFor(new ErrorReply('NOPERM'));
    const stats = (full: number, partial: number): string =>
      `# Stats\r\nsync_full:${full}\r\nsync_partial_ok:${partial}\r\n`;
    links.observe(stats(2, 0), 10, two);
    links.observe(stats(2, 0), 20, two);
    expect(links.madeAt).toEqual([10, 10]);
    links.observe(stats(2, 1), 30, two);
    expect(links.madeAt).toEqual([30, 30]);
    links.observe(new ErrorReply('NOPERM'), 40, two);
    expect(links.madeAt).toEqual([40, 40]);
    expect(links.command).toEqual(['info', 'stats']);
  });

  it('is read from the list', () => {
    expect(parseReplicaClients(clients([5, 11], [6, 12]))).toEqual([
      { id: '5', age: 11, flags: 'S', command: 'replconf' },
      { id: '6', age: 12, flags: 'S', command: 'replconf' },
    ]);
    expect(parseReplicaClients(null)).toEqual([]);
  });

  it.each([
    [2, 2, 2, 2],
    [2, 2, 1, 1],
    [1, 2, 1, 0],
    [2, 3, 2, 1],
    [2, 2, 5, 2],
  ])(
    'of %i that confirmed, with %i links, %i old: %i certainly have an old link',
    (confirmed, listed, old, certain) => {
      expect(agedAtLeast(confirmed, listed, old)).toBe(certain);
    },
  );
});

describe('Whether a write counts', () => {
  const demand = { policy: 'majority' as const, allowNoReplicas: false };
  const viewOf = (quarantine: number): ReplicaView =>
    new ReplicaView(new ObservedReplicas(), new ListedLinkAges(), quarantine);

  it('needs enough replicas that have reached its offset', () => {
    const view = viewOf(0);
    view.observe(info({ port: 1, offset: 900 }, { port: 2, offset: 899 }), clients([1, 0], [2, 0]), 0);
    expect(view.judge(demand, 900, 0)).toEqual({ kind: 'confirmed', by: 1 });
    expect(view.judge({ policy: 'all', allowNoReplicas: false }, 900, 0)).toEqual({
      kind: 'lacking',
      confirmed: 1,
      required: 2,
    });
    expect(view.judge(demand, 901, 0)).toEqual({ kind: 'lacking', confirmed: 0, required: 1 });
  });

  it('counts known replicas that are away: a master that is cut off cannot confirm with the rest', () => {
    const view = viewOf(0);
    view.observe(info({ port: 1, offset: 9 }, { port: 2, offset: 9 }, { port: 3, offset: 9 }), clients(), 0);
    view.observe(info({ port: 1, offset: 9 }), clients(), 0);
    expect(view.judge(demand, 9, 0)).toEqual({ kind: 'lacking', confirmed: 1, required: 2 });
    expect(view.report(9)).toEqual([
      { address: '10.0.0.1:1', acknowledged: true, lag: 991 },
      { address: '10.0.0.1:2', acknowledged: false, lag: null },
      { address: '10.0.0.1:3', acknowledged: false, lag: null },
    ]);
  });

  it('needs links that are older than the quarantine at the moment of sending, but not for a renewal', () => {
    const view = viewOf(5_000);
    view.observe(info({ port: 1, offset: 9 }, { port: 2, offset: 9 }), clients([1, 0], [2, 0]), 10_000);
    expect(view.judge(demand, 9, 14_999)).toEqual({ kind: 'young' });
    expect(view.judge(RENEWAL, 9, 10_000)).toEqual({ kind: 'confirmed', by: 2 });
    expect(view.judge(demand, 9, 15_000)).toEqual({ kind: 'confirmed', by: 2 });
    expect(view.quarantineLeft(11_000)).toBe(4_000);
    expect(view.quarantineLeft(15_000)).toBe(0);
  });

  it('needs links that have stood since a longer lease of the key was read', () => {
    const view = viewOf(5_000);
    view.observe(info({ port: 1, offset: 9 }, { port: 2, offset: 9 }), clients([1, 0], [2, 0]), 10_000);
    expect(view.judge(demand, 9, 15_000, 9_999)).toEqual({ kind: 'young' });
    expect(view.judge(demand, 9, 90_000, 9_999)).toEqual({ kind: 'young' });
    expect(view.judge(demand, 9, 15_000, 10_000)).toEqual({ kind: 'confirmed', by: 2 });
  });

  it('assumes that a young link belongs to a replica that confirmed', () => {
    const view = viewOf(5_000);
    view.observe(info({ port: 1, offset: 9 }, { port: 2, offset: 1 }), clients([1, 60], [2, 0]), 100_000);
    // One of two replicas confirmed, and one of two links is old: that link may be the other
    // replica's.
    expect(view.judge(demand, 9, 100_000)).toEqual({ kind: 'young' });
    expect(view.judge(demand, 1, 100_000)).toEqual({ kind: 'confirmed', by: 2 });
  });

  it('has no quarantine if no replica could confirm, and none if the option is 0', () => {
    const view = viewOf(5_000);
    view.observe(info(), clients(), 0);
    expect(view.quarantineLeft(0)).toBe(0);
    expect(view.judge({ policy: 'all', allowNoReplicas: true }, 9, 0)).toEqual({ kind: 'confirmed', by: 0 });
    expect(view.judge(demand, 9, 0)).toEqual({ kind: 'lacking', confirmed: 0, required: 1 });
  });
});

describe('Which replicas are known', () => {
  it('observed: the largest list, and the newest of equal lists', () => {
    const replicas = new ObservedReplicas();
    replicas.observe(info({ port: 1, offset: 0 }, { port: 2, offset: 0 }));
    replicas.observe(info({ port: 1, offset: 0 }));
    expect([...replicas.addresses]).toEqual(['10.0.0.1:1', '10.0.0.1:2']);
    replicas.observe(info({ port: 1, offset: 0 }, { port: 3, offset: 0 }));
    expect([...replicas.addresses]).toEqual(['10.0.0.1:1', '10.0.0.1:3']);
  });

  it('announced: all replicas that were named or listed, until a minute after the last time', () => {
    const replicas = new AnnouncedReplicas();
    replicas.setMaster('m:1');
    replicas.setAnnounced(new Set(['m:1', 'a:1', 'dead:1']), 0);
    replicas.observe(info({ port: 5, offset: 0 }));
    expect([...replicas.addresses].toSorted()).toEqual(['10.0.0.1:5', 'a:1', 'dead:1']);
    replicas.setAnnounced(new Set(['m:1', 'a:1']), 1_000);
    replicas.setAnnounced(new Set(['m:1', 'a:1']), 60_999);
    expect(replicas.addresses.has('dead:1')).toBe(true);
    replicas.setAnnounced(new Set(['m:1', 'a:1']), 61_000);
    expect([...replicas.addresses].toSorted()).toEqual(['10.0.0.1:5', 'a:1']);
  });

  it('announced: a question without an answer does not prove that a replica is absent', () => {
    const replicas = new AnnouncedReplicas();
    replicas.setAnnounced(new Set(['a:1', 'b:1']), 0);
    replicas.setAnnounced(new Set(['a:1']), 1_000);
    replicas.noteSilence();
    replicas.setAnnounced(new Set(['a:1']), 61_500);
    expect(replicas.addresses.has('b:1')).toBe(true);
  });

  it('announced: a minority of answers does not prove that a replica is absent', () => {
    const replicas = new AnnouncedReplicas();
    replicas.setAnnounced(new Set(['a:1', 'b:1']), 0);
    for (let at = 1_000; at <= 70_000; at += 1_000) replicas.setAnnounced(new Set(['a:1']), at, true);
    expect(replicas.addresses.has('b:1')).toBe(true);
    for (let at = 71_000; at <= 131_000; at += 1_000) replicas.setAnnounced(new Set(['a:1']), at);
    expect(replicas.addresses.has('b:1')).toBe(false);
  });

  it('announced: the former master becomes a replica', () => {
    const replicas = new AnnouncedReplicas();
    replicas.setMaster('m:1');
    replicas.setAnnounced(new Set(['m:1', 'a:1']), 0);
    replicas.setMaster('a:1');
    expect([...replicas.addresses]).toEqual(['m:1']);
  });
});
