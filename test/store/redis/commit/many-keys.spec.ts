import { afterEach, describe, expect, it } from '@jest/globals';
import type { ReleaseOutcome } from '../../../../lib/store/lock-store.js';
import { until } from '../../../support/eventually.js';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { startReplication } from '../../../support/replication.js';
import { requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const single = { allowNoReplicas: true } as const;
const RELEASED: ReleaseOutcome = { kind: 'released', ours: true };
const stores = new RedisStores();

afterEach(() => stores.closeAll());

describe('Locks of many keys', () => {
  it('64 of 256 keys each are taken, watched, renewed and released at once', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url, { replicaTimeout: 5_000 });
    const keysOf = (lock: number): string[] =>
      Array.from({ length: 256 }, (_, i) => `lock ${lock} key ${String(i).padStart(3, '0')}`);
    const held = await Promise.all(Array.from({ length: 64 }, (_, i) => take(store, keysOf(i))));
    expect(
      new Set((await Promise.all(held.map((lock) => store.watch(lock)))).map(({ kind }) => kind)),
    ).toEqual(new Set(['held']));
    const renewed = await Promise.all(held.map((lock) => store.renew(lock, 10_000).outcome));
    expect(new Set(renewed.map(({ kind }) => kind))).toEqual(new Set(['renewed']));
    expect(await Promise.all(held.map((lock) => store.release(lock, 0)))).toEqual(held.map(() => RELEASED));
    expect(stores.reports.filter(({ level }) => level !== 'log')).toEqual([]);
    await stores.closeAll();
  }, 30_000);

  it('cost the server little more for being tracked', async () => {
    await using server = await startRedis();
    await server.call('ACL', 'SETUSER', 'untold', 'on', '>pw', '~*', '&*', '+@all', '-client|tracking');
    // The seconds of the server's processor for 20 renewals of 256 keys.
    const costOn = async (url: string): Promise<number> => {
      const store = stores.open(url, { ...single, replicaTimeout: 5_000 });
      const held = await take(
        store,
        Array.from({ length: 256 }, (_, i) => `${url} ${i}`),
      );
      const used = async (): Promise<number> => Number((await server.info('cpu'))['used_cpu_user']);
      const before = await used();
      for (let i = 0; i < 20; i++) await store.renew(held, 10_000).outcome;
      return (await used()) - before;
    };
    // Redis 7.0 tracks all keys of a script at each read of the script. With one read per key,
    // tracking would cost 8 times as much.
    const [tracked, untracked] = [
      await costOn(server.url),
      await costOn(`redis://untold:pw@${server.address}`),
    ];
    expect(tracked).toBeLessThan(5 * untracked);
    await stores.closeAll();
  });

  it('change no key if one of them holds no string', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const before = await take(store, 'a');
    await store.release(before, 0);
    await server.call('LPUSH', 'lock:c', 'x');
    expect(await store.acquire(requestFor(['a', 'b', 'c', 'd'])).outcome).toMatchObject({
      kind: 'foreign',
      key: 'c',
      found: 'a value that is no string',
    });
    for (const key of ['a', 'b', 'd']) expect(await store.inspect(key)).toEqual({ kind: 'free' });
    expect(await server.call('LRANGE', 'lock:c', 0, -1)).toEqual(['x']);
    expect((await take(store, 'a')).token).toBeGreaterThan(before.token);
    await stores.closeAll();
  });
});

describe('The server’s table of tracked keys', () => {
  /** How many keys the server remembers for client tracking. */
  async function trackedBy(server: RedisProcess): Promise<number> {
    return Number((await server.info('stats'))['tracking_total_keys']);
  }

  it('forgets a key that was checked after another program had deleted it', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const held = await Promise.all(['a', 'b', 'c', 'd'].map((key) => take(store, key)));
    const several = await take(store, ['m', 'n', 'o']);
    await Promise.all([...held, several].map((lock) => store.watch(lock)));
    expect(await trackedBy(server)).toBe(7);
    await server.call('DEL', 'lock:a', 'lock:b', 'lock:m', 'lock:o');
    // Each beside held keys: Redis 7.0 tracks all keys of a script at each read of the script.
    expect(await Promise.all(held.map((lock) => store.watch(lock)))).toMatchObject([
      { kind: 'gone' },
      { kind: 'gone' },
      { kind: 'held' },
      { kind: 'held' },
    ]);
    expect(await store.watch(several)).toEqual({ kind: 'gone', key: 'm' });
    const renewed = await Promise.all([...held, several].map((lock) => store.renew(lock, 10_000).outcome));
    expect(renewed.map(({ kind }) => kind)).toEqual(['gone', 'gone', 'renewed', 'renewed', 'gone']);
    for (const lock of [...held, several]) await store.release(lock, 0);
    await until(async () => (await trackedBy(server)) === 0, { what: 'nothing is tracked any more' });
    await stores.closeAll();
  });

  it('forgets the free keys of a lock that found another key busy', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const held = await take(store, 'busy');
    expect((await store.acquire(requestFor(['a', 'busy', 'c'])).outcome).kind).toBe('busy');
    await store.release(held, 0);
    await until(async () => (await trackedBy(server)) === 0, { what: 'nothing is tracked any more' });
    await stores.closeAll();
  });
});
