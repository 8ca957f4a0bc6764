import { afterEach, describe, expect, it } from '@jest/globals';
import type { Lock } from '../../../../lib/lock/lock.js';
import type { RedisStoreOptions } from '../../../../lib/store/redis/options.js';
import { until } from '../../../support/eventually.js';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { startReplication } from '../../../support/replication.js';
import { RedisServices } from '../redis-stores.js';

const single = { allowNoReplicas: true } as const;
const services = new RedisServices();

afterEach(() => services.closeAll());

/** The message of the loss, which the error, the signal and the event have in common. */
async function lossAfter(
  connection: string,
  overrides: Partial<RedisStoreOptions>,
  fail: () => Promise<unknown>,
): Promise<string> {
  const { locks, events } = services.open(connection, overrides);
  const lock: Lock = await locks.acquire('k', { leaseTime: 1_500 });
  await fail();
  await until(() => lock.signal.aborted, { what: 'the lock was lost' });
  const { message } = lock.signal.reason as Error;
  expect(() => lock.assertHeld()).toThrow(message);
  expect(events.at(-1)).toMatchObject({ type: 'lost', error: { message } });
  return message;
}

const LOST = "^Lock 'k' was lost at .*: its lease of 1500 ms ended before a renewal was confirmed: ";

describe('The error of a lock whose renewal was not confirmed before the lease ended says', () => {
  it('which replicas are missing', async () => {
    await using redis = await startReplication({ replicas: 2 });
    const message = await lossAfter(redis.url, {}, () =>
      Promise.all(redis.replicas.map((replica) => replica.stop())),
    );
    expect(message).toMatch(
      new RegExp(`${LOST}0 of the 1 required replicas answered within 1500 ms\\. Missing: `),
    );
    for (const { address } of redis.replicas) expect(message).toMatch(`${address} (`);
    // A majority is enough for every renewal.
    expect(message).toMatch('Restore the missing replicas or remove them from the master for good. Stop');
    await services.closeAll();
  });

  it.each<[string, (server: RedisProcess) => Promise<unknown>, string]>([
    [
      'that the user may not write the key',
      (server) => server.call('ACL', 'SETUSER', 'shop', 'resetkeys', '~other:*'),
      'Redis at ADDRESS refused: NOPERM .*Give the user the commands and keys',
    ],
    [
      'that the server refuses writes',
      (server) => server.call('CONFIG', 'SET', 'min-replicas-to-write', 1),
      'Redis at ADDRESS refused: NOREPLICAS .*restore replicas\\. Stop',
    ],
    [
      'that the server cannot be reached',
      (server) => server.kill(),
      'Redis at ADDRESS cannot be used: .*ECONNREFUSED',
    ],
    ['that the server does not answer', (server) => server.stop(), '(Redis at|The connection to) .*ADDRESS'],
  ])('%s', async (_, fail, why) => {
    await using server = await startRedis();
    await server.call('ACL', 'SETUSER', 'shop', 'on', '>pw', '~lock:*', '&*', '+@all');
    const message = await lossAfter(`redis://shop:pw@${server.address}`, single, () => fail(server));
    expect(message).toMatch(new RegExp(LOST + why.replace('ADDRESS', server.address)));
    await services.closeAll();
  });
});
