import { startRedis, type RedisProcess } from '../../support/redis-process.js';
import { startReplication } from '../../support/replication.js';
import { startSentinels } from '../../support/sentinels.js';
import { RedisStore } from '../../../lib/store/redis/redis-store.js';
import type { RedisConnection, RedisStoreOptions } from '../../../lib/store/redis/options.js';
import { describeLockStore, type SharedData } from '../contract.js';
import { redisOptions } from './redis-stores.js';

function sharedOn(
  server: RedisProcess,
  overrides: Partial<RedisStoreOptions>,
  dispose: () => Promise<void>,
  connection: RedisConnection = server.url,
): SharedData {
  const client = server.client();
  return {
    open: () => {
      const store = new RedisStore(redisOptions(connection, overrides));
      store.open();
      return store;
    },
    raw: {
      set: async (key, value) => void (await client.set(`lock:${key}`, value)),
      remove: async (key) => void (await client.del(`lock:${key}`)),
      ttl: (key) => client.pttl(`lock:${key}`),
    },
    dispose,
  };
}

describeLockStore('The Redis store on a master with two replicas', async () => {
  const replication = await startReplication({ replicas: 2 });
  return sharedOn(replication.master, {}, () => replication.dispose());
});

describeLockStore('The Redis store on a master that Sentinels name', async () => {
  const deployment = await startSentinels();
  return sharedOn(await deployment.master(), {}, () => deployment.dispose(), deployment.connection);
});

describeLockStore('The Redis store on one server without replicas', async () => {
  const server = await startRedis();
  return sharedOn(server, { allowNoReplicas: true }, () => server.dispose());
});
