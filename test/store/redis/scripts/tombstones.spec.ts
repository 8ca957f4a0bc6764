import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { RedisServices } from '../redis-stores.js';

describe('A released key keeps its token', () => {
  let redis: RedisProcess;
  const services = new RedisServices();
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => {
    await services.closeAll();
    await redis.dispose();
  });

  it.each([
    ['as long as clocks may differ', 5_000, 5_000],
    ['for 1 s even if clocks never differ', 0, 1_000],
  ])('%s', async (_, clockSkew, expected) => {
    const { locks } = services.open(redis.url, { allowNoReplicas: true, clockSkew });
    const client = redis.client();
    const lock = await locks.acquire('released');
    await lock.release();
    await locks.acquire('taken away');
    await locks.forceRelease('taken away');
    for (const key of ['lock:released', 'lock:taken away']) {
      expect(await client.get(key)).toMatch(/^\d{16}$/);
      const left = await client.pttl(key);
      expect(left).toBeGreaterThan(expected - 900);
      expect(left).toBeLessThanOrEqual(expected);
    }
    client.disconnect();
  });
});
