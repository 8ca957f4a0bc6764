import type { LockEvent } from '../../../lib/lock/events.js';
import { LockService } from '../../../lib/lock/lock-service.js';
import type { LockStore, StoreReport } from '../../../lib/store/lock-store.js';
import type { RedisConnection, RedisStoreOptions } from '../../../lib/store/redis/options.js';
import { RedisStore } from '../../../lib/store/redis/redis-store.js';
import { lockDefaults } from '../../support/lock-defaults.js';

/** The options of tests. No quarantine, since the servers of tests have just started. */
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

/** Stores that are closed together, and their reports. */
export class RedisStores {
  private readonly stores: RedisStore[] = [];
  /** Without the reports of every start: the names of the servers, and the quarantine of 0. */
  readonly reports: StoreReport[] = [];
  readonly allReports: StoreReport[] = [];

  open(connection: RedisConnection, overrides: Partial<RedisStoreOptions> = {}): LockStore {
    const store = new RedisStore(redisOptions(connection, overrides));
    store.reports.subscribe((report) => {
      this.allReports.push(report);
      if (!['servers', 'no-quarantine'].includes(report.code)) this.reports.push(report);
    });
    store.open();
    this.stores.push(store);
    return store;
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.stores.splice(0).map((store) => store.close()));
    this.reports.length = 0;
    this.allReports.length = 0;
  }
}

/** Services that are closed together, each on a store of its own. */
export class RedisServices {
  private readonly services: LockService[] = [];

  open(
    connection: RedisConnection,
    overrides: Partial<RedisStoreOptions> = {},
  ): { locks: LockService; events: LockEvent[] } {
    const store = new RedisStore(redisOptions(connection, overrides));
    const defaults = lockDefaults({ leaseTime: 10_000, quarantine: Infinity, shutdownTimeout: 100 });
    const locks = new LockService(store, { ...defaults, ...overrides });
    const events: LockEvent[] = [];
    locks.events.subscribe((event) => events.push(event));
    locks.open();
    this.services.push(locks);
    return { locks, events };
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.services.splice(0).map((locks) => locks.close()));
  }
}
