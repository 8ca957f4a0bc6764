import { LockService } from '../lock/lock-service.js';
import { systemClock } from '../common/clock.js';
import type { LockStore } from '../store/lock-store.js';
import { memoryServerOf } from '../store/memory/memory-server.js';
import { MemoryStore } from '../store/memory/memory-store.js';
import type { RedisStoreOptions } from '../store/redis/options.js';
import { checkOptions, type ReplicaLockModuleOptions } from './options.js';

/** Checks the options and makes the service. Does not connect yet. */
export async function createLockService(options: ReplicaLockModuleOptions): Promise<LockService> {
  const { store, defaults } = checkOptions(options);
  return new LockService(await storeOf(store), defaults);
}

async function storeOf(options: RedisStoreOptions): Promise<LockStore> {
  const { connection } = options;
  if (typeof connection === 'string' && connection.startsWith('memory:')) {
    return new MemoryStore(systemClock, memoryServerOf(connection, systemClock));
  }
  // Locks in memory need no ioredis.
  const { RedisStore } = await import('../store/redis/redis-store.js');
  return new RedisStore(options);
}
