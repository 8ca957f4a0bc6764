import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { LockService } from '../../../lib/lock/lock-service.js';
import type { AcquireOutcome, LockStore } from '../../../lib/store/lock-store.js';
import { until } from '../../support/eventually.js';
import type { RedisProcess } from '../../support/redis-process.js';
import { startReplication } from '../../support/replication.js';
import { requestFor, take } from '../requests.js';
import { RedisServices, RedisStores } from './redis-stores.js';

const READER = { limit: Infinity };
const services = new RedisServices();
const stores = new RedisStores();

afterEach(async () => {
  await services.closeAll();
  await stores.closeAll();
});

/** Calls of a command and the microseconds that they took, since the start of the server. */
async function costOf(server: RedisProcess, command: string): Promise<{ calls: number; time: number }> {
  const text = (await server.info('commandstats'))[`cmdstat_${command}`] ?? 'calls=0,usec=0';
  const [, calls = '0', time = '0'] = /calls=(\d+),usec=(\d+)/.exec(text) ?? [];
  return { calls: Number(calls), time: Number(time) };
}

describe('A writer among readers that never pause', () => {
  it('gets in, and so do the readers behind it', async () => {
    await using redis = await startReplication({ replicas: 2 });
    const readers = [1, 2, 3].map(() => services.open(redis.url).locks);
    const { locks: writing } = services.open(redis.url);
    let inside = 0;
    let reads = 0;
    const end = new AbortController();
    let overlaps = 0;
    const read = async (locks: LockService): Promise<void> => {
      while (!end.signal.aborted) {
        await locks.withLock('shared', READER, async () => {
          inside++;
          reads++;
          await sleep(2 + Math.random() * 4);
          inside--;
        });
      }
    };
    const reading = readers.flatMap((locks) => Array.from({ length: 6 }, () => read(locks)));
    await until(() => inside > 10, { what: 'the readers are busy' });
    const overtaking: number[] = [];
    for (let i = 0; i < 10; i++) {
      const before = reads;
      await writing.withLock('shared', { waitTime: 20_000 }, async () => {
        overtaking.push(reads - before);
        overlaps += inside;
        await sleep(1);
        overlaps += inside;
      });
      await until(() => reads > before + 20, { what: 'the readers get their turn' });
    }
    end.abort();
    await Promise.all(reading);
    expect(overlaps).toBe(0);
    // A reader enters at most once while the writer asks, and not again: it meets the mark. Without
    // the mark the readers enter hundreds of times a second.
    expect(Math.max(...overtaking)).toBeLessThan(3 * 18);
  }, 30_000);
});

describe('Ten idle holders of a key in ten processes', () => {
  it('cost a few commands a second, although each change is told to all of them', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const held = await Promise.all(
      Array.from({ length: 10 }, () =>
        services.open(redis.url).locks.acquire('shared', { ...READER, leaseTime: 3_000 }),
      ),
    );
    await sleep(1_200);
    const before = await costOf(redis.master, 'eval');
    const beforeCached = await costOf(redis.master, 'evalsha');
    await sleep(2_000);
    const checks = (await costOf(redis.master, 'eval')).calls - before.calls;
    const renewals = (await costOf(redis.master, 'evalsha')).calls - beforeCached.calls;
    expect(renewals).toBeGreaterThan(10);
    expect(renewals).toBeLessThan(50);
    expect(checks).toBeLessThan(250);
    expect(held.every((lock) => lock.held)).toBe(true);
    // Each of them is told at once that it lost its part.
    await services.open(redis.url).locks.forceRelease('shared', held[3]!.owner);
    await until(() => held[3]!.signal.aborted, { what: 'the holder was told', within: 2_000 });
    expect(held.filter((lock) => lock.held)).toHaveLength(9);
  }, 20_000);
});

describe('A thousand readers of one process behind a writer', () => {
  it('do not take a thousand rounds', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const { locks } = services.open(redis.url);
    const writer = await services.open(redis.url).locks.acquire('shared');
    const groups = (): number => locks.health().masters[0]!.commits.groups;
    const reading = Array.from({ length: 1_000 }, () => locks.acquire('shared', READER));
    await until(() => groups() > 0, { what: 'the first reader has asked' });
    const before = groups();
    await writer.release();
    await Promise.all(reading);
    expect(groups() - before).toBeLessThan(60);
    expect(await locks.inspect('shared')).toMatchObject({ holders: 1_000 });
    await Promise.all((await Promise.all(reading)).map((lock) => lock.release()));
    expect(await locks.inspect('shared')).toBeNull();
  }, 20_000);
});

describe('The cost of a permit', () => {
  it('does not grow with the number of holders', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url);
    const client = redis.master.client();
    const ends = Date.now() + 60_000;
    const costBeside = async (holders: number): Promise<number> => {
      const key = `beside-${holders}`;
      const pipeline = client.pipeline();
      for (let i = 0; i < holders; i++)
        pipeline.hset(`lock:${key}`, `rl:h:1:a:${i}`, `1700000000000000 ${ends} 1000000000`);
      pipeline.hset(`lock:${key}`, '', `1700000000000000 ${ends} 1000000000 0 0 1`);
      await pipeline.exec();
      await client.pexpire(`lock:${key}`, 60_000);
      const before = await costOf(redis.master, 'evalsha');
      for (let i = 0; i < 50; i++) {
        const held = await take(store, key, { limit: Infinity });
        await store.renew(held, 10_000).outcome;
        await store.acquire(requestFor(key, { limit: 2 })).outcome;
        await store.release(held, 0);
      }
      const after = await costOf(redis.master, 'evalsha');
      return (after.time - before.time) / (after.calls - before.calls);
    };
    await costBeside(1);
    const [few, many] = [await costBeside(10), await costBeside(10_000)];
    // To read all permits of the larger key takes hundreds of times as long.
    expect(many).toBeLessThan(10 * few);
    client.disconnect();
  }, 30_000);
});

describe('A permit that lasts longer than the quarantine', () => {
  /** A key with a permit that ends in a minute, and one that ends first. */
  async function writePermits(server: RedisProcess, timeToFirst: number, mark = ''): Promise<void> {
    const now = Date.now();
    const [first, long] = [now + timeToFirst, now + 60_000];
    const fields = [
      ['', `1700000000000000 ${first} 2 0 0 1`],
      ['rl:h:1:a:1', `1700000000000000 ${first} 2${mark}`],
      ['rl:h:1:a:2', `1700000000000000 ${long} 2`],
    ];
    await server.call('HSET', 'lock:k', ...fields.flat());
    await server.call('PEXPIRE', 'lock:k', '60000');
  }

  async function openConnected(url: string): Promise<LockStore> {
    const store = stores.open(url, { quarantine: 1_000 });
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected' });
    return store;
  }

  const ask = (store: LockStore, keys: string): Promise<AcquireOutcome> =>
    store.acquire(requestFor(keys, { leaseTime: 1_000 })).outcome;

  it.each([
    ['is not the first to end', 1_500, ''],
    ['stands behind a permit in its cooldown', 1_500, ' ~'],
    ['stands behind a permit that has ended', -1, ''],
  ])('is reported if it %s', async (_, timeToFirst, mark) => {
    await using redis = await startReplication({ replicas: 1 });
    const store = await openConnected(redis.url);
    await writePermits(redis.master, timeToFirst, mark);
    expect((await ask(store, 'k')).kind).toBe('busy');
    expect(stores.reports).toContainEqual(
      expect.objectContaining({
        code: 'long-lease',
        message: expect.stringMatching(
          /^Key 'k' is held by (one of its holders|rl:h:1:a:2) for [56]\d s more/,
        ),
      }),
    );
  });

  it('keeps the key after a loss of data, although a refusal named another permit', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = await openConnected(redis.url);
    await writePermits(redis.master, 1_500);
    expect((await ask(store, 'k')).kind).toBe('busy');
    await redis.master.call('DEL', 'lock:k');
    await redis.master.call('CLIENT', 'KILL', 'TYPE', 'replica');
    await redis.waitUntilOnline();
    await until(async () => (await ask(store, 'other')).kind === 'granted', {
      what: 'the quarantine is over',
      within: 15_000,
    });
    expect(await ask(store, 'k')).toMatchObject({ kind: 'unavailable' });
  }, 30_000);
});

describe('The replicas of a key with several holders', () => {
  it('have each permit and the bounds, after every step', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url);
    const isSame = async (): Promise<void> => {
      const read = (server: RedisProcess): Promise<unknown> => server.call('HGETALL', 'lock:k');
      await until(
        async () => JSON.stringify(await read(redis.master)) === JSON.stringify(await read(redis.replica(0))),
        { what: 'the replica has what the master has' },
      );
    };
    const a = await take(store, 'k', { limit: 3 });
    const b = await take(store, 'k', { limit: 2 });
    await isSame();
    await store.renew(a, 20_000).outcome;
    await isSame();
    await store.release(b, 0);
    await isSame();
    await store.release(a, 0);
    await isSame();
    expect(Number(await redis.replica(0).call('PTTL', 'lock:k'))).toBeLessThanOrEqual(1_000);
  });
});
