import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { LockService } from '../../lib/lock/lock-service.js';
import { startReplication, type Replication } from '../support/replication.js';
import { RedisStores } from '../store/redis/redis-stores.js';
import { lockDefaults } from '../support/lock-defaults.js';

const defaults = lockDefaults({ leaseTime: 1_000, quarantine: 60_000 });

describe('A call while the replicas are in quarantine', () => {
  const stores = new RedisStores();
  let redis: Replication;
  beforeAll(async () => {
    redis = await startReplication({ replicas: 1 });
  });
  afterEach(() => stores.closeAll());
  afterAll(() => redis.dispose());

  it('ends at once if the quarantine lasts longer than waitTime, alone and in the queue', async () => {
    const locks = new LockService(stores.open(redis.url, { quarantine: 60_000 }), defaults);
    // The store knows nothing of the replicas before it is connected.
    await expect(locks.tryAcquire('warm')).rejects.toMatchObject({ code: 'LOCK_UNAVAILABLE' });
    const start = performance.now();
    const calls = [1, 2, 3].map(() => locks.acquire('k'));
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({
        code: 'LOCK_UNAVAILABLE',
        message: expect.stringContaining('option quarantine'),
      });
      await call.catch(({ retryAfter }: { retryAfter: number }) =>
        expect(retryAfter).toBeGreaterThan(30_000),
      );
    }
    expect(performance.now() - start).toBeLessThan(5_000);
    await locks.close();
  });

  it('waits for the end of the quarantine if there is time', async () => {
    await redis.master.call('CLIENT', 'KILL', 'TYPE', 'replica');
    await redis.waitUntilOnline();
    const quarantine = 1_500;
    const locks = new LockService(stores.open(redis.url, { quarantine }), { ...defaults, quarantine });
    const start = performance.now();
    const lock = await locks.acquire('k');
    expect(performance.now() - start).toBeGreaterThan(500);
    await lock.release();
    await locks.close();
  });
});
