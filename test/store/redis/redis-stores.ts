import type { LockStore, StoreReport } from '../../../lib/store/lock-store.js';
import type { RedisConnection, RedisStoreOptions } from '../../../lib/store/redis/options.js';
import { RedisStore } from '../../../lib/store/redis/redis-store.js';

/** What tests use where they say nothing else: no quarantine, since their servers have just started. */
export function redisOptions(
  connection: RedisConnection,
  overrides: Partial<RedisStoreOptions> = {},
): RedisStoreOptions {
  return {
    connection,
    keyPrefix: 'lock:',
    replicas: 'all',
    allowNoReplicas: false,
    quarantine: 0,
    replicaTimeout: 1_000,
    clockSkew: 1_000,
    allowEviction: false,
    ...overrides,
  };
}

/** Stores that are closed together, and what they reported. */
export class RedisStores {
  private readonly stores: RedisStore[] = [];
  readonly reports: StoreReport[] = [];

  open(connection: RedisConnection, overrides: Partial<RedisStoreOptions> = {}): LockStore {
    const store = new RedisStore(redisOptions(connection, overrides));
    store.reports.subscribe((report) => this.reports.push(report));
    store.open();
    this.stores.push(store);
    return store;
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.stores.splice(0).map((store) => store.close()));
    this.reports.length = 0;
  }
}
