import { startCluster } from '../../../support/cluster.js';
import { RedisStore } from '../../../../lib/store/redis/redis-store.js';
import { describeLockStore } from '../../contract.js';
import { redisOptions } from '../redis-stores.js';

describeLockStore('The Redis store on a Cluster of three masters with a replica each', async () => {
  const cluster = await startCluster();
  return {
    open: () => {
      const store = new RedisStore(redisOptions(cluster.connection));
      store.open();
      return store;
    },
    raw: {
      set: async (key, value) => void (await cluster.call('SET', `lock:${key}`, value)),
      remove: async (key) => void (await cluster.call('DEL', `lock:${key}`)),
      ttl: async (key) => Number(await cluster.call('PTTL', `lock:${key}`)),
    },
    dispose: () => cluster.dispose(),
  };
});
