import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../../lib/common/clock.js';
import type { LockStore } from '../../../../lib/store/lock-store.js';
import { AnnouncedReplicas } from '../../../../lib/store/redis/replication/known-replicas.js';
import {
  parseReplicationInfo,
  type ReplicationInfo,
} from '../../../../lib/store/redis/replication/replication-info.js';
import { SharedAddresses } from '../../../../lib/store/redis/replication/shared-addresses.js';
import { startCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import { startRedis } from '../../../support/redis-process.js';
import { startReplication } from '../../../support/replication.js';
import { MASTER_NAME, startSentinels } from '../../../support/sentinels.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
afterEach(() => stores.closeAll());

/**
 * INFO of a master with these replicas: `port offset lag`, and `sync` if a replica is not online.
 */
function infoOf(...replicas: string[]): ReplicationInfo {
  const lines = replicas.map((replica, i) => {
    const [port, offset, lag, sync] = replica.split(' ');
    const state = sync === 'sync' ? 'wait_bgsave' : 'online';
    return `slave${i}:ip=10.0.0.1,port=${port},state=${state},offset=${offset},lag=${lag}\r\n`;
  });
  const head = '# Replication\r\nrole:master\r\n';
  return parseReplicationInfo(`${head}${lines.join('')}master_replid:x\r\nmaster_repl_offset:9\r\n`)!;
}

/** CLIENT LIST TYPE replica with links of these ages in s. */
const linksOf = (...ages: number[]): string =>
  ages.map((age, i) => `id=${i} addr=x:1 age=${age} idle=0 flags=S cmd=replconf`).join('\n');

const namesIn = (info: ReplicationInfo): string[] =>
  [...new Set(info.lines.map(({ address }) => address.replace('10.0.0.1:', '')))].toSorted();

describe('Two lines of one address in INFO', () => {
  const two = ['1', '1 (2)'];
  it.each<
    [what: string, before: string[], now: string[], ages: number[], certain: string[], possible: string[]]
  >([
    ['are of two addresses', [], ['1 9 0', '2 9 0'], [50, 50], ['1', '2'], ['1', '2']],
    ['are two replicas: both links are older than any silence', [], ['1 9 0', '1 9 1'], [50, 50], two, two],
    ['are two of which one hangs', [], ['1 9 0', '1 3 40'], [50, 60], two, two],
    [
      'are one: a new link has taken the place of a dead one',
      ['1 9 0'],
      ['1 3 40', '1 9 0'],
      [50, 39],
      ['1'],
      ['1'],
    ],
    ['are one: it returns with a full sync', ['1 9 0'], ['1 3 9', '1 0 0 sync'], [50, 8], ['1'], ['1']],
    ['are one: CLIENT LIST is refused, one is silent', ['1 9 0'], ['1 9 0', '1 3 5'], [], ['1'], ['1']],
    [
      'may be either: both are alive, and their links are new',
      ['1 9 0'],
      ['1 9 0', '1 9 0'],
      [1, 1],
      ['1'],
      two,
    ],
    ['may be either: CLIENT LIST is refused', ['1 9 0'], ['1 9 0', '1 9 0'], [], ['1'], two],
    ['may be either: they are met like that', [], ['1 3 40', '1 9 0'], [50, 39], ['1'], two],
    [
      'are two and a reader of the stream',
      [],
      ['1 9 0', '1 9 0', '0 0 0'],
      [50, 50, 50],
      ['0', ...two],
      ['0', ...two],
    ],
    [
      'are three of four for certain: some link is new',
      [],
      ['1 9 0', '1 3 30', '1 3 30', '1 3 30', '2 9 0'],
      [90, 90, 90, 90, 5],
      ['1', '1 (2)', '1 (3)', '2'],
      ['1', '1 (2)', '1 (3)', '1 (4)', '2'],
    ],
  ])('%s', (_, before, now, ages, certain, possible) => {
    const shared = new SharedAddresses();
    shared.separate(infoOf(...before), undefined, 0);
    const separated = shared.separate(infoOf(...now), linksOf(...ages), 0);
    expect([namesIn(separated.certain), namesIn(separated.possible)]).toEqual([certain, possible]);
  });

  it('belong to two replicas if both were alive for longer than a dead link can seem alive', () => {
    const shared = new SharedAddresses();
    const look = (at: number, ...info: string[]): string[] =>
      namesIn(shared.separate(infoOf(...info), undefined, at).certain);
    expect(look(0, '1 9 0', '1 9 1')).toEqual(['1']);
    expect(look(2_900, '1 9 1', '1 9 0')).toEqual(['1']);
    expect(look(3_000, '1 9 0', '1 9 0')).toEqual(['1', '1 (2)']);
    expect(shared.shared).toEqual(['10.0.0.1:1']);
    // And they stay separate, no matter which of them hangs.
    expect(look(60_000, '1 9 0', '1 3 57')).toEqual(['1', '1 (2)']);
    expect(look(61_000, '1 9 0')).toEqual(['1']);
    expect(look(62_000, '1 9 0', '1 9 0')).toEqual(['1', '1 (2)']);
  });

  it('are doubtful while both are listed, if both were alive at the same time', () => {
    const shared = new SharedAddresses();
    const look = (at: number, ...info: string[]): string[] =>
      namesIn(shared.separate(infoOf(...info), linksOf(1, 2), at).possible);
    look(0, '1 9 0');
    expect(look(0, '1 9 0', '1 9 1')).toEqual(['1', '1 (2)']);
    expect(look(9_000, '1 9 0', '1 9 9')).toEqual(['1', '1 (2)']);
    expect(look(10_000, '1 9 0')).toEqual(['1']);
    expect(look(11_000, '1 9 0', '1 9 11')).toEqual(['1']);
  });
});

describe('Servers that have several addresses', () => {
  const of = (replicas: AnnouncedReplicas): string[] => [...replicas.addresses].toSorted();
  const at = (...ports: number[]): ReplicationInfo => infoOf(...ports.map((port) => `${port} 9 0`));
  const set = (...addresses: string[]): Set<string> => new Set(addresses);

  function membersOf(...names: string[]): AnnouncedReplicas {
    const replicas = new AnnouncedReplicas();
    replicas.setMaster('m:1');
    replicas.setAnnounced(set('m:1', ...names), 0);
    return replicas;
  }

  it('count once if all replicas that follow the master are listed by other addresses', () => {
    const replicas = membersOf('a:2', 'b:3');
    replicas.observe(at(2, 3));
    replicas.identified(set('a:2', 'b:3'), []);
    expect(of(replicas)).toEqual(['a:2', 'b:3']);
    expect([replicas.nameOf('10.0.0.1:2'), replicas.nameOf('10.0.0.1:3')]).toEqual(['a:2', 'b:3']);
    expect(replicas.oddity?.strangers).toEqual([]);
  });

  it('count once after one of them has died', () => {
    const replicas = membersOf('a:2', 'b:3');
    replicas.identified(set('a:2', 'b:3'), []);
    replicas.observe(at(2, 3));
    replicas.observe(at(3));
    replicas.identified(set('b:3'), []);
    replicas.noteSilence();
    expect(of(replicas)).toEqual(['a:2', 'b:3']);
    expect(replicas.nameOf('10.0.0.1:3')).toBe('b:3');
  });

  it('count once if one had died before', () => {
    const replicas = membersOf('a:2', 'b:3');
    replicas.identified(set('b:3'), []);
    replicas.observe(at(3));
    expect(of(replicas)).toEqual(['a:2', 'b:3']);
  });

  it.each([
    ['no Sentinel or node tells which servers follow the master', []],
    ['fewer servers follow the master than it lists under other addresses', ['a:2']],
    ['a replica of that name is listed', ['a:2', '10.0.0.1:2']],
  ])('count as strangers if %s', (_, following) => {
    const replicas = membersOf('a:2', '10.0.0.1:2');
    replicas.identified(new Set(following), []);
    replicas.observe(at(2, 3, 4));
    expect(of(replicas)).toEqual(['10.0.0.1:2', '10.0.0.1:3', '10.0.0.1:4', 'a:2']);
    expect(replicas.oddity?.strangers).toEqual(['10.0.0.1:3', '10.0.0.1:4']);
  });

  it('do not include a new replica after a named replica died: the dead replica was listed by its name', () => {
    const replicas = membersOf('10.0.0.1:2', '10.0.0.1:3');
    replicas.observe(at(2, 3));
    // Sentinel or the Cluster has not noticed yet.
    replicas.identified(set('10.0.0.1:2', '10.0.0.1:3'), []);
    replicas.observe(at(2, 4));
    expect(of(replicas)).toEqual(['10.0.0.1:2', '10.0.0.1:3', '10.0.0.1:4']);
  });

  it('count once beside a new replica that Sentinel or the Cluster names only later', () => {
    const replicas = membersOf('a:2');
    replicas.identified(set('a:2'), []);
    replicas.observe(at(2));
    replicas.observe(at(2, 3));
    expect(of(replicas)).toEqual(['10.0.0.1:3', 'a:2']);
    replicas.setAnnounced(set('m:1', 'a:2', 'b:3'), 1);
    replicas.identified(set('a:2', 'b:3'), []);
    expect(of(replicas)).toEqual(['a:2', 'b:3']);
  });

  it('count once if their run ids are the same, no matter which is the master', () => {
    const replicas = membersOf('a:2', 'alias-of-a:2', 'alias-of-m:1');
    replicas.identified(set(), [['a:2', 'alias-of-a:2'], ['m:1', 'alias-of-m:1'], ['b:3']]);
    expect(of(replicas)).toEqual(['a:2']);
    replicas.setMaster('alias-of-a:2');
    expect(of(replicas)).toEqual(['alias-of-m:1']);
  });

  it('are forgotten like any other server', () => {
    const replicas = membersOf('a:2', 'b:3');
    replicas.identified(set('a:2', 'b:3'), []);
    replicas.observe(at(2, 3));
    replicas.observe(at(2));
    replicas.setAnnounced(set('m:1', 'a:2'), 0);
    replicas.setAnnounced(set('m:1', 'a:2'), 60_000);
    expect(of(replicas)).toEqual(['a:2']);
  });
});

/** Asks once, for as long as the replicas may take. */
const once = (key: string, replicas: 'all' | 'majority' | number = 'all'): ReturnType<typeof requestFor> =>
  requestFor(key, { replicas, replicaTimeout: 700, waitUntil: systemClock.monotonic() });

const reported = (store: LockStore, code: string): Promise<string> =>
  until(() => stores.reports.find((report) => report.code === code)?.message, {
    within: 10_000,
    what: `${code} is reported and shown: ${JSON.stringify(store.health())}`,
  });

describe('Replicas that announce one address for all of them', () => {
  const announcing = { 'replica-announce-ip': '10.9.9.9', 'replica-announce-port': 7_777 };

  it('are counted by their connections: a replica that hangs has not confirmed', async () => {
    await using redis = await startReplication({ replicas: 0 });
    for (let i = 0; i < 4; i++) await redis.join(announcing);
    await redis.waitUntilOnline();
    const store = stores.open(redis.url);
    await take(store, 'all-well');
    for (const replica of redis.replicas.slice(1)) await replica.stop();
    // At once, and again after a long silence of the replicas that hang.
    for (const wait of [0, 4_000]) {
      const since = systemClock.monotonic();
      await until(() => systemClock.monotonic() - since >= wait, { what: 'some time has passed' });
      for (const policy of ['all', 'majority', 2] as const)
        expect((await store.acquire(once(`hang-${wait}`, policy)).outcome).kind).toBe('unconfirmed');
    }
    // A process that starts in this situation counts the replicas by the age of their links.
    const late = stores.open(redis.url);
    expect((await late.acquire(once('late')).outcome).kind).toBe('unconfirmed');
    redis.replica(1).resume();
    granted(await store.acquire(once('majority', 'majority')).outcome);
    expect(await reported(store, 'shared-address')).toMatch(
      /^Several replicas of Redis at \S+ announce the same address, 10\.9\.9\.9:7777: .* Set replica-announce-ip and replica-announce-port of each replica to an address of its own\.$/,
    );
    // The report may be that of the other store.
    await until(
      () => store.health().masters[0]?.warnings?.some((warning) => warning.includes('replica-announce-ip')),
      { what: 'the warning is shown' },
    );
    expect(store.health().masters[0]?.replicas).toHaveLength(4);
    await stores.closeAll();
  }, 30_000);

  it('are not forgotten if one name stands for all of them: Sentinel', async () => {
    await using redis = await startReplication({ replicas: 0 });
    for (let i = 0; i < 3; i++) await redis.join(announcing);
    await redis.waitUntilOnline();
    const monitor = `${MASTER_NAME} 127.0.0.1 ${redis.master.port} 1`;
    await using sentinel = await startRedis({ 'sentinel monitor': monitor }, 'sentinel');
    const sentinels = [{ host: '127.0.0.1', port: sentinel.port }];
    const store = stores.open({ sentinels, name: MASTER_NAME });
    await take(store, 'all-well');
    await reported(store, 'shared-address');
    await redis.replica(0).stop();
    await redis.replica(1).stop();
    expect((await store.acquire(once('hang', 'majority')).outcome).kind).toBe('unconfirmed');
    await stores.closeAll();
  }, 40_000);
});

describe('Replicas of a Cluster that have other addresses in CLUSTER NODES than in INFO', () => {
  it.each([
    ['cluster-announce-ip', { 'cluster-announce-ip': '127.0.0.2' }],
    [
      'cluster-announce-ip, and one replica-announce address for all',
      {
        'cluster-announce-ip': '127.0.0.2',
        'replica-announce-ip': '10.9.9.9',
        'replica-announce-port': 7_777,
      },
    ],
  ])(
    'count once each, so the death of one of two stops nothing: %s',
    async (_, announcing) => {
      const bind = { bind: '0.0.0.0' };
      await using cluster = await startCluster({
        masters: 1,
        replicas: 2,
        config: { ...bind, ...announcing },
      });
      const store = stores.open(cluster.connection);
      await take(store, 'all-well');
      await until(() => store.health().masters[0]!.replicas.length === 2, {
        within: 10_000,
        what: 'each replica is counted once',
      });
      await cluster.nodes[2]!.kill();
      await take(store, 'one-is-dead');
      // A process that starts now has seen only one of the replicas.
      await take(stores.open(cluster.connection), 'one-was-dead');
      expect(await reported(store, 'announced-address')).toMatch(
        /and the Redis Cluster call the same servers by different addresses: .*Set replica-announce-ip and .* cluster-announce-ip and cluster-announce-port\.$/,
      );
      expect(store.health().masters[0]).toMatchObject({
        warnings: expect.arrayContaining([expect.stringContaining('cluster-announce-ip')]),
      });
      await cluster.nodes[1]!.stop();
      for (const policy of ['all', 'majority'] as const)
        expect((await store.acquire(once('both', policy)).outcome).kind).toBe('unconfirmed');
      await stores.closeAll();
    },
    40_000,
  );
});

describe('A former master that Sentinel names by host name and by address', () => {
  it('counts once, so the death of one of two replicas stops nothing', async () => {
    await using deployment = await startSentinels({
      masterHost: 'localhost',
      sentinelConfig: { 'sentinel resolve-hostnames': 'yes', 'sentinel announce-hostnames': 'yes' },
    });
    const [sentinel] = deployment.sentinels;
    const old = await deployment.master();
    const store = stores.open(deployment.connection);
    await take(store, 'before');
    await sentinel!.call('SENTINEL', 'FAILOVER', MASTER_NAME);
    const master = await deployment.untilPromoted(old);
    await deployment.mend();
    await until(
      async () =>
        String(await sentinel!.call('SENTINEL', 'REPLICAS', MASTER_NAME)).match(/runid/g)?.length === 3,
      { within: 20_000, what: 'Sentinel names the former master twice' },
    );
    const late = stores.open(deployment.connection);
    for (const each of [store, late]) {
      await until(() => each.health().masters[0]?.replicas.length === 2, { what: 'two replicas are two' });
      await take(each, each === store ? 'long-there' : 'new');
    }
    await deployment.servers.find((server) => server !== master && server !== old)!.kill();
    for (const each of [store, late]) await take(each, each === store ? 'one-is-dead' : 'one-was-dead');
    expect(await reported(store, 'announced-address')).toMatch(
      /and Sentinel call the same servers by different addresses: .*localhost.* former masters included/,
    );
    await stores.closeAll();
  }, 60_000);
});
