import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { ListedPage, LockStore } from '../../../lib/store/lock-store.js';
import { slotOf, startCluster } from '../../support/cluster.js';
import { until } from '../../support/eventually.js';
import { startRedis, type RedisProcess } from '../../support/redis-process.js';
import { startSentinels } from '../../support/sentinels.js';
import { keysOf, pagesOf } from '../listing-contract.js';
import { take } from '../requests.js';
import { RedisStores } from './redis-stores.js';

const stores = new RedisStores();
afterEach(() => stores.closeAll());

const ALONE = { allowNoReplicas: true } as const;

/** Writes held keys as locks do. Answers the keys in alphabetical order. */
async function holdMany(redis: RedisProcess, prefix: string, count: number): Promise<string[]> {
  const client = redis.client();
  const keys = Array.from({ length: count }, (_, i) => `k${i}`).toSorted();
  for (let from = 0; from < count; from += 1_000) {
    const pipeline = client.pipeline();
    for (const key of keys.slice(from, from + 1_000))
      pipeline.set(prefix + key, `rl:host:1:${key} 1795531756566206`, 'PX', 600_000);
    await pipeline.exec();
  }
  return keys;
}

/** How often the server ran each command since the last CONFIG RESETSTAT. */
async function commandCalls(redis: RedisProcess): Promise<Map<string, number>> {
  const stats = Object.entries(await redis.info('commandstats'));
  return new Map(
    stats.map(([name, text]) => [name.replace('cmdstat_', ''), Number(/calls=(\d+)/.exec(text)?.[1])]),
  );
}

describe('A listing on one server', () => {
  let redis: RedisProcess;
  beforeEach(async () => {
    redis = await startRedis();
  });
  afterEach(() => redis.dispose());

  it('walks over 10,000 keys in small steps: no command asks for more than a page', async () => {
    const expected = await holdMany(redis, 'lock:', 10_000);
    const store = stores.open(redis.url, ALONE);
    await redis.call('CONFIG', 'RESETSTAT');
    const pages = await pagesOf(store);
    expect(pages.flatMap((page) => page.map(({ key }) => key)).toSorted()).toEqual(expected);
    const calls = await commandCalls(redis);
    // A page has about 200 keys; a bucket of the server's hash table may bring some more.
    expect(calls.get('scan')).toBe(pages.length);
    expect(pages.length).toBeGreaterThan(30);
    expect(Math.max(...pages.map((page) => page.length))).toBeLessThan(400);
    expect(calls.get('getrange')).toBe(10_000);
    for (const blocking of ['keys', 'eval', 'evalsha', 'mget']) expect(calls.has(blocking)).toBe(false);
  });

  it('takes the characters of the prefix as they are, not as a glob', async () => {
    const keyPrefix = 'l*ck?[a-z]\\^:';
    const store = stores.open(redis.url, { ...ALONE, keyPrefix });
    await take(store, 'mine');
    const held = 'rl:host:1:1 1795531756566206';
    for (const other of ['lock?a\\^:other', 'l*ckxa^:other', 'l*ck?z^:other', 'x:other', 'l*ck?[a-z]^:other'])
      await redis.call('SET', other, held);
    expect(await keysOf(store)).toEqual(['mine']);
    expect(await keysOf(store, 'm?n[a-e]')).toEqual(['mine']);
    expect(await keysOf(store, 'm?n[f-z]')).toEqual([]);
  });

  it('finds all keys without a prefix, and no key with the name of the prefix', async () => {
    await redis.call('SET', 'lock:', 'rl:host:1:1 1795531756566206');
    expect(await keysOf(stores.open(redis.url, ALONE))).toEqual([]);
    expect(await keysOf(stores.open(redis.url, { ...ALONE, keyPrefix: '' }))).toEqual(['lock:']);
  });

  it("reads neither another program's large values nor its hashes, and leaves all as it is", async () => {
    const client = redis.client();
    await client.set('lock:large', 'x'.repeat(5_000_000));
    await client.set('lock:cut', `rl:a:1= 1795531756566206 ${'x'.repeat(5_000_000)}`);
    await client.hset(
      'lock:hash',
      Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`f${i}`, 'x'])),
    );
    await client.hset('lock:nearly', '', 'x', 'rl:a:1', '1795531756566206 1 1');
    await client.rpush('lock:list', 'x');
    await client.zadd('lock:zset', 1, 'x');
    await client.sadd('lock:set', 'x');
    await client.xadd('lock:stream', '*', 'f', 'x');
    const store = stores.open(redis.url, ALONE);
    await take(store, 'mine', { limit: 2 });
    await redis.call('CONFIG', 'RESETSTAT');
    const found = (await pagesOf(store)).flat();
    expect(found.map(({ key }) => key).toSorted()).toEqual(['cut', 'mine']);
    expect(JSON.stringify(found).length).toBeLessThan(100_000);
    const calls = await commandCalls(redis);
    expect(calls.get('hgetall')).toBe(1);
    expect(calls.has('get')).toBe(false);
    expect(await client.strlen('lock:large')).toBe(5_000_000);
    expect(await client.hlen('lock:hash')).toBe(1_000);
  });

  it('begins anew after a restart of the server, so that no key is missing', async () => {
    const expected = await holdMany(redis, 'lock:', 2_000);
    await redis.call('SAVE');
    const store = stores.open(redis.url, ALONE);
    const first = (await store.list({})) as ListedPage;
    const second = (await store.list({ cursor: first.cursor })) as ListedPage;
    await redis.restart({ data: 'kept' });
    const third = await until(
      async () => {
        const outcome = await store.list({ cursor: second.cursor });
        return outcome.kind === 'page' && outcome;
      },
      { what: 'the store is connected again' },
    );
    const seen = new Set(third.locks.map(({ key }) => key));
    for (let { cursor } = third; cursor !== undefined;) {
      const page = (await store.list({ cursor })) as ListedPage;
      for (const { key } of page.locks) seen.add(key);
      ({ cursor } = page);
    }
    expect([...seen].toSorted()).toEqual(expected);
  });

  it('says which right is missing, for SCAN and for a key that the user may not read', async () => {
    await redis.call('SET', 'lock:other', 'rl:host:1:1 1795531756566206');
    const user = ['on', '>secret', '~lock:mine*', '+@all', '&*'];
    await redis.call('ACL', 'SETUSER', 'reader', ...user);
    const store = stores.open(`redis://reader:secret@${redis.address}`, ALONE);
    expect(await store.list({})).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: NOPERM.*Give the user the commands and keys/),
    });
    await redis.call('ACL', 'SETUSER', 'reader', '-scan');
    expect(await store.list({})).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/scan.*Give the user the commands/),
    });
  });

  it('ends with the reason if the server dies in the middle', async () => {
    await holdMany(redis, 'lock:', 1_000);
    const store = stores.open(redis.url, ALONE);
    const { cursor } = (await store.list({})) as ListedPage;
    await redis.kill();
    expect(await store.list({ cursor })).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining(redis.address),
    });
  });
});

describe('A listing through Sentinel', () => {
  it('goes on at the new master after a fail-over, and shows every key', async () => {
    await using deployment = await startSentinels();
    const master = await deployment.master();
    const expected = await holdMany(master, 'lock:', 1_000);
    await master.call('WAIT', 2, 5_000);
    const store = stores.open(deployment.connection);
    const first = (await store.list({})) as ListedPage;
    await deployment.handOver();
    const seen = new Set<string>();
    await until(
      async () => {
        const outcome = await store.list({ cursor: first.cursor });
        if (outcome.kind !== 'page') return false;
        let page: ListedPage = outcome;
        for (;;) {
          for (const { key } of page.locks) seen.add(key);
          if (page.cursor === undefined) return true;
          page = (await store.list({ cursor: page.cursor })) as ListedPage;
        }
      },
      { within: 15_000, what: 'the new master was walked' },
    );
    expect([...seen].toSorted()).toEqual(expected);
    await stores.closeAll();
  }, 60_000);
});

describe('A listing in a Cluster of three masters', () => {
  const spread = (count: number): string[] => Array.from({ length: count }, (_, i) => `k${i}`).toSorted();

  async function holdAll(store: LockStore, keys: readonly string[]): Promise<void> {
    await Promise.all(keys.map((key) => take(store, key, { leaseTime: 60_000, limit: key.length })));
  }

  it('shows the keys of every master once, skips a key that moved, and names slots without a master', async () => {
    await using cluster = await startCluster({ masters: 3, replicas: 1 });
    const store = stores.open(cluster.connection);
    const keys = spread(900);
    await holdAll(store, keys);
    const pages = await pagesOf(store);
    expect(pages.length).toBeGreaterThanOrEqual(6);
    expect(pages.flatMap((page) => page.map(({ key }) => key)).toSorted()).toEqual(keys);
    expect(await keysOf(store, 'k1?')).toEqual(keys.filter((key) => /^k1.$/s.test(key)));

    // A key whose slot is being moved, and that has moved already: SCAN of the old master does not
    // name it, and the new master has it.
    const moving = keys[5]!;
    const slot = slotOf(moving);
    const from = await cluster.ownerOf(slot);
    const target = cluster.nodes.slice(0, 3).find((node) => node !== from)!;
    await cluster.beginMove(slot, target);
    await cluster.moveKeys(slot, from, target);
    const others = keys.filter((key) => slotOf(key) !== slot);
    const during = await keysOf(store);
    expect(during.filter((key) => others.includes(key))).toEqual(others);
    await cluster.endMove(slot, target);
    expect([...new Set(await keysOf(store))]).toEqual(keys);

    for (const node of cluster.nodes) await node.call('CLUSTER', 'DELSLOTS', 16_383);
    await until(async () => (await store.list({ cursor: '16383/' })).kind === 'unavailable', {
      within: 10_000,
      what: 'the store knows that slot 16383 has no master',
    });
    const seen: string[] = [];
    for (let cursor: string | undefined; ;) {
      const page = await store.list({ cursor });
      if (page.kind === 'unavailable') {
        expect(page.reason).toMatch(/no master of the Redis Cluster serves its slot 16383/);
        break;
      }
      seen.push(...page.locks.map(({ key }) => key));
      ({ cursor } = page);
      expect(cursor).toBeDefined();
    }
    expect(seen.toSorted()).toEqual(keys.filter((key) => slotOf(key) !== 16_383));
    await stores.closeAll();
  }, 60_000);
});
