import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { LockService } from '../../lib/lock/lock-service.js';
import { RedisStores } from '../store/redis/redis-stores.js';
import { freePort } from '../support/ports.js';
import { startReplication, type Replication } from '../support/replication.js';
import { lockDefaults } from '../support/lock-defaults.js';

const defaults = lockDefaults();
/** The code of each call's error. `held` or `null` if the call did not reject. */
async function endsOf(calls: readonly Promise<unknown>[]): Promise<string[]> {
  const ends = await Promise.allSettled(calls);
  return ends.map((end) =>
    end.status === 'rejected' ? (end.reason as { code: string }).code : end.value === null ? 'null' : 'held',
  );
}

describe('Callers in the queue for one key while Redis is down', () => {
  const stores = new RedisStores();
  afterEach(() => stores.closeAll());

  it.each<[string, readonly number[]]>([
    ['with the same waitTime', [600, 600, 600]],
    ['with less waitTime than the first', [1_600, 500, 300]],
    ['with more waitTime than the first', [300, 1_100, 1_200]],
    ['without a wait', [0, 0, 0]],
  ])('are all told that it is unavailable, and never that the key is busy: %s', async (_, waitTimes) => {
    const locks = new LockService(stores.open(`redis://127.0.0.1:${await freePort()}`), defaults);
    const acquired = endsOf(waitTimes.map((waitTime) => locks.acquire('k', { waitTime })));
    const tried = endsOf(waitTimes.map((waitTime) => locks.tryAcquire('l', { waitTime })));
    expect(new Set([...(await acquired), ...(await tried)])).toEqual(new Set(['LOCK_UNAVAILABLE']));
    await locks.close();
  });

  it('get an error with the reason', async () => {
    const locks = new LockService(stores.open(`redis://127.0.0.1:${await freePort()}`), defaults);
    void locks.acquire('k', { waitTime: Infinity }).catch(() => {});
    await expect(locks.acquire('k', { waitTime: 700 })).rejects.toThrow(/ECONNREFUSED/);
    await locks.close();
  });
});

describe('Callers that wait for a holder in another process when Redis goes away', () => {
  const stores = new RedisStores();
  afterEach(() => stores.closeAll());

  it.each(['killed', 'hung'])('get an error that says unavailable, not busy: %s', async (fate) => {
    await using redis = await startReplication({ replicas: 1 });
    const holder = new LockService(stores.open(redis.url), defaults);
    const locks = new LockService(stores.open(redis.url), defaults);
    await holder.acquire('k');
    const ends = endsOf([6_000, 5_500].map((waitTime) => locks.acquire('k', { waitTime })));
    // A waiter that has found the key busy sleeps until a notice of a change.
    await expect(locks.acquire('k', { waitTime: 300 })).rejects.toThrow(/is held by/);
    if (fate === 'killed') await redis.master.kill();
    else await redis.master.stop();
    expect(await ends).toEqual(['LOCK_UNAVAILABLE', 'LOCK_UNAVAILABLE']);
    await Promise.all([locks.close(), holder.close()]);
  });
});

describe('Callers in the queue for one key while a replica hangs', () => {
  const stores = new RedisStores();
  let redis: Replication;
  let locks: LockService;
  beforeAll(async () => {
    redis = await startReplication({ replicas: 2 });
    locks = new LockService(stores.open(redis.url), defaults);
    await (await locks.acquire('warm')).release();
    await redis.replica(1).stop();
  });
  afterAll(async () => {
    await locks.close();
    await redis.dispose();
  });

  it('are granted the lock if they need a majority, even if the first needs all replicas', async () => {
    const abort = new AbortController();
    const first = locks.acquire('k', { waitTime: Infinity, signal: abort.signal });
    const ended = expect(first).rejects.toThrow('enough');
    const released = await Promise.all(
      ['a', 'b'].map(async () => {
        const lock = await locks.acquire('k', { replicas: 'majority', waitTime: 4_000 });
        return lock.release();
      }),
    );
    expect(released).toEqual([true, true]);
    abort.abort(new Error('enough'));
    await ended;
  });

  it('get an error that says so, and never that the key is busy', async () => {
    const acquired = endsOf([2_000, 2_000, 1_700].map((waitTime) => locks.acquire('l', { waitTime })));
    const tried = endsOf([0, 0, 0].map((waitTime) => locks.tryAcquire('m', { waitTime })));
    expect(new Set([...(await acquired), ...(await tried)])).toEqual(new Set(['LOCK_NOT_REPLICATED']));
  });
});
