import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../../lib/common/clock.js';
import type { AcquireOutcome, LockStore, ReplicaPolicy } from '../../../../lib/store/lock-store.js';
import { CountedLinkAges, ListedLinkAges } from '../../../../lib/store/redis/replication/link-ages.js';
import { ObservedReplicas } from '../../../../lib/store/redis/replication/known-replicas.js';
import { ReplicaView, type Verdict } from '../../../../lib/store/redis/replication/replica-view.js';
import {
  parseReplicaClients,
  parseReplicationInfo,
} from '../../../../lib/store/redis/replication/replication-info.js';
import { until } from '../../../support/eventually.js';
import { startReplication, type Replication } from '../../../support/replication.js';
import { requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const QUARANTINE = 2_000;

/** One line of INFO for each replica: `online 9` has acknowledged offset 9. */
function infoOf(...lines: string[]): ReturnType<typeof parseReplicationInfo> {
  const replicas = lines.map((line, i) => {
    const [state, offset = 0, port = 7001 + i] = line.split(' ');
    return `slave${i}:ip=10.0.0.1,port=${port},state=${state},offset=${offset},lag=0`;
  });
  const ids = 'master_replid:8371445e';
  return parseReplicationInfo(
    ['# Replication', 'role:master', ...replicas, ids, 'master_repl_offset:9', ''].join('\r\n'),
  );
}

/** One line of CLIENT LIST each: `old replconf`, `young psync C`. */
function clientsOf(...lines: string[]): string {
  return lines
    .map((line, i) => {
      const [age, command, flag = ''] = line.split(' ');
      const cmd = command === '?' ? '' : ` cmd=${command}`;
      return `id=${i + 4} addr=10.0.0.1:4${i} age=${age === 'old' ? 60 : 0} idle=0 flags=S${flag} db=0${cmd} user=default\n`;
    })
    .join('');
}

describe('Which links count while a replica is in full sync', () => {
  /** The verdict on a write at offset 9 for a majority, by one INFO and one CLIENT LIST. */
  function verdict(
    links: ListedLinkAges | CountedLinkAges,
    lines: string[],
    answer: string,
  ): Verdict['kind'] {
    const replicas = new ObservedReplicas();
    const view = new ReplicaView(replicas, links, 10_000);
    view.observe(infoOf(...lines)!, answer, 100_000);
    const { kind } = view.judge({ policy: 'majority', allowNoReplicas: false }, 9, 100_000);
    return kind;
  }

  it.each<[what: string, info: string[], clients: string[], expected: Verdict['kind']]>([
    [
      'the other is old and has confirmed (Redis 6 and 7, Valkey)',
      ['online 9', 'wait_bgsave'],
      ['old replconf', 'young psync'],
      'confirmed',
    ],
    [
      'the same over the RDB channel of Redis 8',
      ['online 9', 'send_bulk_and_stream'],
      ['old replconf', 'young psync', 'young psync C'],
      'confirmed',
    ],
    [
      'the same over two connections of Valkey',
      ['online 9', 'wait_bgsave 0 7002', 'bg_transfer 0 7002'],
      ['old replconf', 'young psync', 'young sync'],
      'confirmed',
    ],
    [
      'INFO says online, but the replica still loads',
      ['online 9', 'online 0'],
      ['old replconf', 'young psync'],
      'confirmed',
    ],
    [
      'the replica has just acknowledged, but not this write',
      ['online 9', 'online 8'],
      ['old replconf', 'young replconf'],
      'young',
    ],
    [
      'both have confirmed, one of them over an old link',
      ['online 9', 'online 9'],
      ['old replconf', 'young replconf'],
      'confirmed',
    ],
    [
      'the one that confirmed is young, and its sync takes longer than a quarantine',
      ['online 9', 'wait_bgsave'],
      ['young replconf', 'old psync'],
      'young',
    ],
    [
      'the same over the RDB channel, with two old lines',
      ['online 9', 'send_bulk_and_stream'],
      ['young replconf', 'old psync', 'old psync C'],
      'young',
    ],
    [
      'the same with a young confirming link, over two connections of Valkey',
      ['online 9', 'wait_bgsave 0 7002', 'bg_transfer 0 7002'],
      ['young replconf', 'old psync', 'old sync'],
      'young',
    ],
    [
      'the same with a reader of the stream (redis-cli --rdb)',
      ['online 9', 'send_bulk 0 0'],
      ['young replconf', 'old sync'],
      'young',
    ],
    [
      'the server does not say which line is the syncing one',
      ['online 9', 'wait_bgsave'],
      ['old ?', 'young ?'],
      'young',
    ],
    [
      'the same, and the old line may be the syncing one',
      ['online 9', 'wait_bgsave'],
      ['young ?', 'old ?'],
      'young',
    ],
    [
      'the sync has ended between INFO and CLIENT LIST',
      ['online 9', 'wait_bgsave'],
      ['old replconf', 'young replconf'],
      'young',
    ],
    [
      'the link that confirmed has ended between INFO and CLIENT LIST, the other is old and lags behind',
      ['online 9', 'online 8'],
      ['old replconf'],
      'young',
    ],
    [
      'the link that confirmed was replaced between INFO and CLIENT LIST',
      ['online 9', 'online 8'],
      ['young psync', 'old replconf'],
      'young',
    ],
    [
      'a dead link of the same replica is still listed',
      ['online 9 7001', 'online 9 7001'],
      ['old replconf', 'young replconf'],
      'young',
    ],
    ['CLIENT LIST has no lines', ['online 9', 'online 9'], [], 'young'],
  ])('%s', (_, info, clients, expected) => {
    expect(verdict(new ListedLinkAges(), info, clientsOf(...clients))).toBe(expected);
  });

  it.each<[what: string, info: string[], clients: string[], required: number]>([
    ['two that acknowledge', ['online 9', 'online 9'], ['old replconf', 'old replconf'], 2],
    [
      'two of a master that has written nothing',
      ['online 0', 'online 0'],
      ['old replconf', 'old replconf'],
      2,
    ],
    ['one that receives the file', ['online 9', 'wait_bgsave'], ['old replconf', 'young psync'], 1],
    ['one that loads the file', ['online 9', 'online 0'], ['old replconf', 'young psync'], 1],
    [
      'one of each kind',
      ['online 9', 'online 0', 'wait_bgsave'],
      ['old replconf', 'young psync', 'young psync'],
      2,
    ],
    ['one that hangs', ['online 9', 'online 7'], ['old replconf', 'old replconf'], 2],
  ])("'all' waits for those that can acknowledge: %s", (_, info, clients, required) => {
    const view = new ReplicaView(new ObservedReplicas(), new ListedLinkAges(), 0);
    view.observe(infoOf(...info)!, clientsOf(...clients), 0);
    expect(view.required({ policy: 'all', allowNoReplicas: false })).toBe(required);
  });

  it('is decided by counters of synchronisations if CLIENT LIST is refused: all or none', () => {
    const links = new CountedLinkAges();
    const stats = (full: number): string => `# Stats\r\nsync_full:${full}\r\nsync_partial_ok:0\r\n`;
    links.observe(stats(2), 1_000, infoOf('online 9', 'online 9')!);
    expect(verdict(links, ['online 9', 'online 9'], stats(2))).toBe('confirmed');
    expect(verdict(links, ['online 9', 'wait_bgsave'], stats(3))).toBe('young');
  });
});

describe('A replica that returns with a long full sync', () => {
  const stores = new RedisStores();
  let replication: Replication;
  afterEach(async () => {
    await stores.closeAll();
    await replication.dispose();
  });

  const askOnce = (store: LockStore, key: string, replicas: ReplicaPolicy): Promise<AcquireOutcome> => {
    const waitUntil = systemClock.monotonic();
    return store.acquire(requestFor(key, { leaseTime: QUARANTINE, replicaTimeout: 500, waitUntil, replicas }))
      .outcome;
  };

  const clients = async (): Promise<ReturnType<typeof parseReplicaClients>> =>
    parseReplicaClients(String(await replication.master.call('CLIENT', 'LIST', 'TYPE', 'replica')));

  /** Puts a replica into a full sync that takes this many seconds, as with much data. */
  async function beginSync(seconds: number): Promise<void> {
    const { master } = replication;
    await replication.replica(1).kill();
    const keys = 2_000;
    await master.call('DEBUG', 'POPULATE', keys, 'filler', 100);
    await master.call('CONFIG', 'SET', 'rdb-key-save-delay', (seconds * 1e6) / keys);
    await replication.replica(1).restart();
    await until(async () => (await clients()).some(({ command }) => command === 'psync'), {
      what: 'the full sync has begun',
    });
  }

  function open(): LockStore {
    return stores.open(replication.master.url, { quarantine: QUARANTINE });
  }

  it('delays no new lock: the master and the other replicas are a majority with old links', async () => {
    replication = await startReplication({ replicas: 2 });
    const store = open();
    await take(store, 'warm', { leaseTime: QUARANTINE });
    await beginSync(1.5);
    const isOver = async (): Promise<boolean> =>
      (await clients()).every(({ command }) => command === 'replconf');
    for (let i = 0; !(await isOver()); i++)
      expect(await askOnce(store, `during-${i}`, i % 2 ? 'all' : 'majority')).toMatchObject({
        kind: 'granted',
      });
    await take(store, 'afterwards', { leaseTime: QUARANTINE });
  }, 20_000);

  it('does not lend the age of its link to another replica (Redis 8 lists the link twice)', async () => {
    replication = await startReplication({ replicas: 2 });
    await beginSync(15);
    const store = open();
    await until(async () => (await clients()).some(({ command, age }) => command === 'psync' && age > 2), {
      what: 'the full sync is older than a quarantine',
    });
    const linked = (await clients()).find(({ command }) => command === 'replconf')!;
    // The replica closes, because the master's side of a closed connection stays open during a
    // fork.
    await replication.replica(0).call('CLIENT', 'KILL', 'TYPE', 'master');
    await until(
      async () =>
        (await clients()).some(
          ({ id, flags, age }) => Number(id) > Number(linked.id) && flags === 'S' && age < 1,
        ),
      { what: 'the other replica is back' },
    );
    expect(await askOnce(store, 'key', 'majority')).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('option quarantine'),
    });
  }, 20_000);
});
