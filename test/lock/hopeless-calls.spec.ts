import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { startCluster } from '../support/cluster.js';
import { until } from '../support/eventually.js';
import { startRedis } from '../support/redis-process.js';
import { startReplication } from '../support/replication.js';
import { startSentinels } from '../support/sentinels.js';
import { RedisServices } from '../store/redis/redis-stores.js';

const services = new RedisServices();
afterEach(() => services.closeAll());

/** ms that every caller here would wait. */
const WAIT_TIME = 60_000;
/** The calls take a few ms. The rest is for a busy machine. */
const AT_ONCE = 10_000;

const NO_REPLICA = {
  code: 'LOCK_NOT_REPLICATED',
  required: 1,
  message: expect.stringMatching(
    /^Lock '\w+' was refused: the master .*lists no replica: attach one, or set allowNoReplicas: true/,
  ),
};
const unavailable = (message: RegExp) => ({
  code: 'LOCK_UNAVAILABLE',
  message: expect.stringMatching(message),
});
const YOUNG = /option quarantine/;
const UNKNOWN_HOST = /ENOTFOUND \w+\.invalid.*Check the hosts? in the option connection\.$/;

/**
 * Calls before the connection is made, after that, and in a line behind another caller. Each must
 * fail with this error, long before its `waitTime` is over.
 */
async function refusesAtOnce(
  connection: Parameters<RedisServices['open']>[0],
  error: object,
  options: Parameters<RedisServices['open']>[1] = {},
): Promise<void> {
  const waiting = { waitTime: WAIT_TIME, leaseTime: 1_000 };
  const { locks } = services.open(connection, { ...options, ...waiting });
  const start = performance.now();
  await expect(locks.acquire('first')).rejects.toMatchObject(error);
  await expect(locks.acquire('later')).rejects.toMatchObject(error);
  for (const call of [1, 2, 3].map(() => locks.acquire('line')))
    await expect(call).rejects.toMatchObject(error);
  expect(performance.now() - start).toBeLessThan(AT_ONCE);
}

describe('A call fails at once, also before the connection is made and in a line,', () => {
  it('if the server has no replica', async () => {
    await using alone = await startRedis();
    await refusesAtOnce(alone.url, NO_REPLICA);
    await refusesAtOnce(alone.url, { ...NO_REPLICA, required: 2 }, { replicas: 2 });
    await refusesAtOnce(alone.url, NO_REPLICA, { replicas: 'majority', quarantine: 60_000 });
  });

  it('if the server is a replica', async () => {
    await using servers = await startReplication({ replicas: 1 });
    await refusesAtOnce(servers.replica(0).url, unavailable(/it is no master but a replica/));
  });

  it('if the quarantine lasts longer than waitTime', async () => {
    await using servers = await startReplication({ replicas: 1 });
    const error = { ...unavailable(YOUNG), retryAfter: expect.any(Number) };
    await refusesAtOnce(servers.url, error, { quarantine: 2 * WAIT_TIME });
  });

  it('if no name server knows the host', async () => {
    await refusesAtOnce('redis://nosuch.invalid:6379', unavailable(UNKNOWN_HOST));
  });

  it('with Sentinel', async () => {
    const sentinels = [1, 2].map((i) => ({ host: `s${i}.invalid`, port: 26_379 }));
    await refusesAtOnce({ sentinels, name: 'mymaster' }, unavailable(UNKNOWN_HOST));
    await using alone = await startSentinels({ replicas: 0 });
    await refusesAtOnce(alone.connection, NO_REPLICA);
    await using servers = await startSentinels({ replicas: 1 });
    await refusesAtOnce(servers.connection, unavailable(YOUNG), { quarantine: 2 * WAIT_TIME });
  }, 60_000);

  it('with Redis Cluster', async () => {
    const nodes = [1, 2].map((i) => ({ host: `n${i}.invalid`, port: 6_379 }));
    await refusesAtOnce({ nodes }, unavailable(/ENOTFOUND n1\.invalid.*Check the hosts in the option/));
    await using alone = await startCluster({ masters: 3, replicas: 0 });
    await refusesAtOnce(alone.connection, NO_REPLICA);
    await using servers = await startCluster({ masters: 3, replicas: 1 });
    await refusesAtOnce(servers.connection, unavailable(YOUNG), { quarantine: 2 * WAIT_TIME });
  }, 60_000);
});

describe('A call goes on waiting', () => {
  it('for a replica that this process knows and that is away', async () => {
    await using servers = await startReplication({ replicas: 1 });
    const { locks } = services.open(servers.url, { replicaTimeout: 200 });
    await (await locks.acquire('k')).release();
    await servers.replica(0).kill();
    const call = locks.acquire('k', { waitTime: WAIT_TIME });
    await until(() => locks.health().masters[0]?.reason, { what: 'the replica is away' });
    await servers.replica(0).revive();
    await (await call).release();
  });

  it('for the end of a quarantine that is short enough', async () => {
    await using servers = await startReplication({ replicas: 1 });
    const { locks } = services.open(servers.url, { quarantine: 1_500 });
    await (await locks.acquire('k', { leaseTime: 1_000, waitTime: WAIT_TIME })).release();
  });
});

@Controller()
class Orders {
  @Post('pay')
  @ReplicaLocked('order')
  async pay(): Promise<void> {}
}

describe('A refused request', () => {
  it('is told the reason, unless in production, and when to try again', async () => {
    await using alone = await startRedis();
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: alone.url, waitTime: WAIT_TIME })],
      controllers: [Orders],
    }).compile();
    const app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    await app.listen(0, '127.0.0.1');
    const before = process.env['NODE_ENV'];
    try {
      const pay = async (): Promise<{ status: number; retryAfter: string | null; body: object }> => {
        const response = await fetch(`${await app.getUrl()}/pay`, { method: 'POST' });
        const body = (await response.json()) as object;
        return { status: response.status, retryAfter: response.headers.get('retry-after'), body };
      };
      const body = {
        statusCode: 503,
        error: 'Service Unavailable',
        code: 'LOCK_NOT_REPLICATED',
        message: 'This cannot be done safely just now. Try again later.',
      };
      expect(await pay()).toEqual({
        status: 503,
        retryAfter: '1',
        body: { ...body, reason: expect.stringContaining('lists no replica: attach one') },
      });
      process.env['NODE_ENV'] = 'production';
      expect(await pay()).toEqual({ status: 503, retryAfter: '1', body });
    } finally {
      process.env['NODE_ENV'] = before;
      await app.close();
    }
  });
});
