import { describe, expect, it } from '@jest/globals';
import { parseClusterNodes } from '../../../../lib/store/redis/cluster/cluster-nodes.js';
import { mayHaveLost, type MasterEvidence } from '../../../../lib/store/redis/cluster/loss-evidence.js';
import { parseSlotMigrations, unprovenSlots } from '../../../../lib/store/redis/cluster/slot-migrations.js';
import { ErrorReply, type Reply } from '../../../../lib/store/redis/resp.js';
import { ListedLinkAges } from '../../../../lib/store/redis/replication/link-ages.js';
import { ObservedReplicas } from '../../../../lib/store/redis/replication/known-replicas.js';
import { ReplicaView } from '../../../../lib/store/redis/replication/replica-view.js';
import { parseReplicationInfo } from '../../../../lib/store/redis/replication/replication-info.js';

const DOUBT_TIME = 7_500;
/** The present time by the clock of the server that names the others. */
const NOW = 1_000_000;

/**
 * `t1 slave t`: one server as CLUSTER NODES names it. Epoch, slots and the time of the last message
 * follow if the test needs them.
 */
function line(id: string, flags: string, { of = '-', epoch = 1, slots = '', heard = NOW } = {}): string {
  return `${id} 10.0.0.1:${id.charCodeAt(0)}${id.slice(1)}@1 ${flags} ${of} 0 ${heard} ${epoch} connected ${slots}`;
}

/** The shard of `t`, which names the others, and the shard of `x`: each with a replica. */
const HEALTHY = [
  line('t', 'myself,master', { slots: '0-99', heard: 0 }),
  line('t1', 'slave', { of: 't' }),
  line('x', 'master', { slots: '100-199' }),
  line('x1', 'slave', { of: 'x' }),
];

type Looks = Record<string, MasterEvidence>;
const old = (replicas: number): MasterEvidence => ({ replicas, allLinksOld: true });
const young = (replicas: number): MasterEvidence => ({ replicas, allLinksOld: false });
const SHOWN: Looks = { t: old(1), x: old(1) };

function doubt(
  lines: readonly string[],
  looks: Looks,
  { known = [] as string[], allowNoReplicas = false } = {},
): string | undefined {
  const { nodes } = parseClusterNodes(lines.join('\n'), { host: '10.0.0.1', port: 1 })!;
  const all = new Map([...nodes.map(({ id }) => id), ...known].map((id) => [id, `address of ${id}`]));
  return mayHaveLost(nodes, all, new Map(Object.entries(looks)), {
    doubtTime: DOUBT_TIME,
    allowNoReplicas,
  });
}

describe('The servers of a Cluster have lost nothing for a quarantine', () => {
  it.each<[what: string, lines: string[], looks: Looks]>([
    ['if all masters show old links of all their replicas', HEALTHY, SHOWN],
    [
      'if a master whose last slot has moved away shows the same',
      [...HEALTHY, line('s', 'master', { epoch: 3 }), line('s1', 'slave', { of: 's' })],
      { ...SHOWN, s: old(1) },
    ],
    [
      'if another master has been dead for so long that no holder can believe in its locks',
      [
        ...HEALTHY,
        line('s', 'master,fail', { epoch: 3, heard: NOW - DOUBT_TIME - 1 }),
        line('x2', 'slave,fail', { of: 'x', heard: NOW - DOUBT_TIME - 1 }),
      ],
      SHOWN,
    ],
    [
      'if another master has joined, and has never served a slot',
      [...HEALTHY, line('s', 'master', { epoch: 0 })],
      SHOWN,
    ],
  ])('%s', (_, lines, looks) => {
    expect(doubt(lines, looks)).toBeUndefined();
  });

  it('if there are no replicas, and none are required', () => {
    const lines = [HEALTHY[0]!, HEALTHY[2]!];
    expect(doubt(lines, { t: old(0), x: old(0) }, { allowNoReplicas: true })).toBeUndefined();
    expect(doubt(lines, { t: old(0), x: old(0) })).toMatch(/no replica/);
  });
});

describe('A server may have lost a lock', () => {
  const S = line('s', 'master', { epoch: 3 });
  it.each<[what: string, lines: string[], looks: Looks, why: RegExp]>([
    ['a master that has restarted', HEALTHY, { ...SHOWN, x: young(1) }, /less than a quarantine/],
    [
      'a master that has restarted and has no slots any more',
      [...HEALTHY, S, line('s1', 'slave', { of: 's' })],
      { ...SHOWN, s: young(1) },
      /less than a quarantine/,
    ],
    ['a master without slots and replicas', [...HEALTHY, S], { ...SHOWN, s: old(0) }, /no replica/],
    ['a master without slots that cannot be asked', [...HEALTHY, S], SHOWN, /cannot be asked/],
    ['a master that does not answer', HEALTHY, { t: old(1) }, /cannot be asked/],
    ['the master that names the others', HEALTHY, { ...SHOWN, t: young(1) }, /less than a quarantine/],
    [
      'a master that the others do not hear, whatever it shows',
      [...HEALTHY, line('s', 'master,fail?', { epoch: 3, heard: NOW - 1_000 })],
      { ...SHOWN, s: old(1) },
      /not heard/,
    ],
    [
      'a master that died a short time ago',
      [...HEALTHY, line('s', 'master,fail', { epoch: 3, heard: NOW - DOUBT_TIME + 1 })],
      SHOWN,
      /not heard/,
    ],
    [
      'a master that has long been suspected, but not declared dead',
      [...HEALTHY, line('s', 'master,fail?', { epoch: 3, heard: NOW - 2 * DOUBT_TIME })],
      SHOWN,
      /not heard/,
    ],
    [
      'a master that has never been heard',
      [...HEALTHY, line('s', 'master,fail', { epoch: 3, heard: 0 })],
      SHOWN,
      /not heard/,
    ],
    [
      'an emptied master that is a replica of another master by now: its link is young',
      [...HEALTHY, line('s', 'slave', { of: 't' })],
      { ...SHOWN, t: young(2) },
      /less than a quarantine/,
    ],
    [
      'the same that does not follow yet',
      [...HEALTHY, line('s', 'slave', { of: 't' })],
      SHOWN,
      /2 replicas, and only 1/,
    ],
    [
      'the same that died then',
      [...HEALTHY, line('s', 'slave,fail', { of: 't', heard: NOW - 1_000 })],
      SHOWN,
      /2 replicas, and only 1/,
    ],
    ['a replica without a master', [...HEALTHY, line('s', 'slave')], SHOWN, /follows no master/],
    ['a replica of a replica', [...HEALTHY, line('s', 'slave', { of: 'x1' })], SHOWN, /follows no master/],
    [
      'a replica of a master that has long been dead',
      [
        ...HEALTHY,
        line('s', 'master,fail', { epoch: 3, heard: NOW - DOUBT_TIME - 1 }),
        line('s1', 'slave', { of: 's' }),
      ],
      SHOWN,
      /follows no master/,
    ],
    [
      'a master of a Cluster made by hand that served slots without an epoch',
      [...HEALTHY, line('s', 'master', { epoch: 0 }), line('s1', 'slave', { of: 's' })],
      SHOWN,
      /cannot be asked/,
    ],
  ])('%s', (_, lines, looks, why) => {
    expect(doubt(lines, looks)).toMatch(why);
  });

  it('a server that was named lately and was forgotten since', () => {
    expect(doubt(HEALTHY, SHOWN, { known: ['s'] })).toMatch(/^address of s was forgotten/);
  });
});

describe('What a master shows about its replicas', () => {
  function shows(lines: readonly string[], clients: readonly string[]): MasterEvidence {
    const replicas = lines.map((each, i) => {
      const [state, offset, port = 7001 + i] = each.split(' ');
      return `slave${i}:ip=10.0.0.1,port=${port},state=${state},offset=${offset},lag=0`;
    });
    const text = ['', 'role:master', ...replicas, 'master_replid:r', 'master_repl_offset:9', ''].join('\r\n');
    const list = clients.map((each, i) => {
      const [age, cmd] = each.split(' ');
      return `id=${i} addr=10.0.0.1:4${i} age=${age} idle=0 flags=S cmd=${cmd}\n`;
    });
    const view = new ReplicaView(new ObservedReplicas(), new ListedLinkAges(), 5_000);
    view.observe(parseReplicationInfo(text)!, list.join(''), 100_000);
    return view.linkEvidence(100_000);
  }

  it.each<[what: string, info: string[], clients: string[], expected: MasterEvidence]>([
    ['two old links', ['online 9', 'online 9'], ['11 replconf', '60 replconf'], old(2)],
    ['a link that may be too young', ['online 9', 'online 9'], ['10 replconf', '60 replconf'], young(2)],
    ['a replica in full sync', ['online 9', 'wait_bgsave 0'], ['60 replconf', '60 psync'], young(1)],
    ['one that loads', ['online 9', 'online 0'], ['60 replconf', '60 psync'], young(1)],
    ['a replica that lags counts', ['online 9', 'online 3'], ['60 replconf', '60 replconf'], old(2)],
    [
      'a dead link beside the new one of the same replica',
      ['online 9 1', 'online 9 1'],
      ['60 replconf', '1 replconf'],
      young(1),
    ],
    [
      'a reader of the stream does not count as a replica',
      ['online 9', 'online 0 0'],
      ['60 replconf', '60 sync'],
      young(1),
    ],
    ['no replica', [], [], old(0)],
    ['links that the user may not list', ['online 9'], [], young(1)],
  ])('%s', (_, info, clients, expected) => {
    expect(shows(info, clients)).toEqual(expected);
  });
});

describe('An atomic migration of slots', () => {
  const unknown = new ErrorReply("ERR unknown subcommand 'getslotmigrations'. Try CLUSTER HELP.");
  const time = ['1000', '5'];
  const forbidden = new ErrorReply('NOPERM this user has no permissions to run the command');

  const flat = (fields: Record<string, Reply>): Reply => Object.entries(fields).flat();

  /** One entry of CLUSTER GETSLOTMIGRATIONS, as Valkey 9.1 answers. */
  const job = (operation: string, state: string, { name = 'n1', at = 999, slots = '5-7 9-9' } = {}): Reply =>
    flat({
      name,
      operation,
      slot_ranges: slots,
      target_node: 't',
      source_node: 's',
      create_time: at - 1,
      last_update_time: at,
      last_ack_time: at,
      state,
      message: '',
      cow_size: 0,
    });
  /** One entry of CLUSTER MIGRATION STATUS, as Redis 8.4 answers. */
  const task = (operation: string, state: string, end = 999_000): Reply =>
    flat({
      id: 'n1',
      slots: '5-7 9-9',
      source: 's',
      dest: 't',
      operation,
      state,
      last_error: '',
      retries: 0,
      create_time: 1,
      start_time: 1,
      end_time: end,
      write_pause_ms: 2,
    });

  const SLOTS = [
    [5, 7],
    [9, 9],
  ];

  it.each<[what: string, jobs: Reply[], expected: readonly (readonly number[])[]]>([
    ['is proven by the success of its source', [job('IMPORT', 'success'), job('EXPORT', 'success')], []],
    ['is not proven by the success of its target', [job('IMPORT', 'success')], SLOTS],
    [
      'is not proven if its source gave up waiting',
      [job('IMPORT', 'success'), job('EXPORT', 'failed')],
      SLOTS,
    ],
    [
      'is not proven if its source was told to stop',
      [job('IMPORT', 'success'), job('EXPORT', 'cancelled')],
      SLOTS,
    ],
    [
      'is not proven while its source still waits',
      [job('IMPORT', 'success'), job('EXPORT', 'failover-granted')],
      SLOTS,
    ],
    [
      'is not proven by the success of another migration',
      [job('IMPORT', 'success'), job('EXPORT', 'success', { name: 'n2' })],
      SLOTS,
    ],
    ['does not count if its target has given up', [job('IMPORT', 'failed'), job('EXPORT', 'failed')], []],
    ['does not count after a while', [job('IMPORT', 'success', { at: 980 }), job('EXPORT', 'failed')], []],
    ['is asked about on both sides', [job('EXPORT', 'failed')], []],
  ])('%s', (_, jobs, expected) => {
    const migrations = jobs.flatMap((each) => parseSlotMigrations([[each], unknown, time])!);
    expect(unprovenSlots(migrations, DOUBT_TIME)).toEqual(expected);
  });

  it('of Redis 8.4 is never proven', () => {
    const migrations = [task('import', 'completed'), task('migrate', 'completed')].flatMap((each) =>
      parseSlotMigrations([unknown, [each], time])!,
    );
    expect(unprovenSlots(migrations, DOUBT_TIME)).toEqual(SLOTS);
    expect(
      unprovenSlots(parseSlotMigrations([unknown, [task('import', 'failed')], time])!, DOUBT_TIME),
    ).toEqual([]);
    expect(
      unprovenSlots(
        parseSlotMigrations([unknown, [task('import', 'completed', 980_000)], time])!,
        DOUBT_TIME,
      ),
    ).toEqual([]);
  });

  it('has no end yet while it is under way, and counts', () => {
    const migrations = parseSlotMigrations([unknown, [task('import', 'takeover', -1)], time])!;
    expect(unprovenSlots(migrations, DOUBT_TIME)).toEqual(SLOTS);
  });

  it('counts at any age if the server does not tell its time', () => {
    const migrations = parseSlotMigrations([[job('IMPORT', 'success', { at: 1 })], unknown, unknown])!;
    expect(unprovenSlots(migrations, DOUBT_TIME)).toEqual(SLOTS);
  });

  it('does not exist if the server has no such command, and is unknown if the user may not ask', () => {
    expect(parseSlotMigrations([unknown, unknown, time])).toEqual([]);
    expect(parseSlotMigrations([forbidden, unknown, time])).toBeUndefined();
    expect(parseSlotMigrations([unknown, forbidden, time])).toBeUndefined();
    const version = '# Server\r\nredis_version:6.2.14\r\n';
    expect(parseSlotMigrations([forbidden, forbidden, time, version])).toEqual([]);
  });
});
