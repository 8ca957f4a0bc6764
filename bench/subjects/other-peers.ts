import { Redis } from 'ioredis';
import { loadPeer } from './peer.js';
import { FOR_EVER, LEASE, urlOf, type Locker, type Subject } from './subject.js';

/*
 * Other lock libraries, each on its own or recommended client. Their polling has the default
 * settings, except for the number of tries.
 */

interface UniversalLock {
  acquire(): Promise<object>;
  release(handle: object): Promise<boolean>;
}

const redlockUniversal: Subject = {
  name: 'redlock-universal',
  kind: 'peer',
  confirmed: false,
  waits: true,
  async connect(server): Promise<Locker> {
    const { createLock, IoredisAdapter } = loadPeer<{
      createLock(settings: object): UniversalLock;
      IoredisAdapter: new (client: Redis) => object;
    }>('redlock-universal');
    const client = new Redis(server);
    const adapter = new IoredisAdapter(client);
    return {
      async hold(key, work) {
        // "lean" sends no PING for each lock.
        const lock = createLock({ adapter, key, ttl: LEASE, retryAttempts: FOR_EVER, performance: 'lean' });
        const handle = await lock.acquire();
        await work();
        await lock.release(handle);
      },
      close: async () => client.disconnect(),
    };
  },
};

interface Mutex {
  acquire(): Promise<void>;
  release(): Promise<void>;
}

const redisSemaphore: Subject = {
  name: 'redis-semaphore',
  kind: 'peer',
  confirmed: false,
  waits: true,
  async connect(server): Promise<Locker> {
    const { Mutex } = loadPeer<{ Mutex: new (client: Redis, key: string, options: object) => Mutex }>(
      'redis-semaphore',
    );
    const client = new Redis(server);
    return {
      async hold(key, work) {
        const mutex = new Mutex(client, key, { lockTimeout: LEASE, acquireTimeout: FOR_EVER });
        await mutex.acquire();
        await work();
        await mutex.release();
      },
      holdUntilLost: (key, lockTimeout, onLockLost) =>
        new Mutex(client, key, { lockTimeout, onLockLost }).acquire(),
      close: async () => client.disconnect(),
    };
  },
};

interface MurLockService {
  onModuleInit(): Promise<void>;
  onApplicationShutdown(): Promise<void>;
  runWithLock(key: string, releaseTime: number, work: () => Promise<void>): Promise<void>;
}

const murlock: Subject = {
  name: 'murlock',
  kind: 'peer',
  confirmed: false,
  waits: true,
  async connect(server): Promise<Locker> {
    const { MurLockService } = loadPeer<{
      MurLockService: new (options: object, contexts: object) => MurLockService;
    }>('murlock');
    const { AsyncStorageManager } = loadPeer<{ AsyncStorageManager: new () => object }>(
      'murlock/dist/als/als-manager',
    );
    const { AsyncStorageService } = loadPeer<{ AsyncStorageService: new (contexts: object) => object }>(
      'murlock/dist/als/als.service',
    );
    const service = new MurLockService(
      {
        redisOptions: { url: urlOf(server) },
        blocking: true,
        wait: 100,
        maxAttempts: 1,
        logLevel: 'error',
      },
      new AsyncStorageService(new AsyncStorageManager()),
    );
    await service.onModuleInit();
    return {
      hold: (key, work) => service.runWithLock(key, LEASE, async () => work()),
      close: () => service.onApplicationShutdown(),
    };
  },
};

interface RedisKitLock {
  acquire(key: string, ttl: number): Promise<{ release(): Promise<boolean> } | null>;
}

const nestjsRedis: Subject = {
  name: '@nestjs-redis/lock',
  kind: 'peer',
  confirmed: false,
  waits: true,
  async connect(server): Promise<Locker> {
    const { RedlockService } = loadPeer<{
      RedlockService: new (clients: object[], options: object) => RedisKitLock;
    }>('@nestjs-redis/lock');
    const { createClient } = loadPeer<{
      createClient(options: object): { connect(): Promise<unknown>; destroy(): void };
    }>('redis');
    const client = createClient({ url: urlOf(server) });
    await client.connect();
    const redlock = new RedlockService([client], { maxRetryAttempts: FOR_EVER });
    return {
      async hold(key, work) {
        const lock = await redlock.acquire(key, LEASE);
        if (lock === null) throw new Error(`${key} was not taken`);
        await work();
        await lock.release();
      },
      close: async () => client.destroy(),
    };
  },
};

interface RedissonLock {
  lock(): Promise<void>;
  unlock(): Promise<void>;
}

const redisson: Subject = {
  name: 'node-redisson',
  kind: 'peer',
  confirmed: false,
  waits: true,
  async connect(options): Promise<Locker> {
    const { Redisson } = loadPeer<{
      Redisson: new (options: object) => { getLock(key: string): RedissonLock; quit(): Promise<void> };
    }>('node-redisson');
    const client = new Redisson({ redis: { options } });
    return {
      async hold(key, work) {
        const lock = client.getLock(key);
        await lock.lock();
        await work();
        await lock.unlock();
      },
      close: () => client.quit(),
    };
  },
};

export const otherPeers: readonly Subject[] = [
  redlockUniversal,
  redisSemaphore,
  murlock,
  nestjsRedis,
  redisson,
];
