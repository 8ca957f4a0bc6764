import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConflictException, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { ConfigService } from '@nestjs/config';
import { Redis } from 'ioredis';
import { redisSettings } from './redis-settings.js';

/** Deletes the key if it is still ours. */
const RELEASE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

/**
 * The usual Redis lock, for comparison: SET NX PX on the master, and a compare-and-delete at the
 * end. The replicas are not asked. If the master dies before they have the write, the promoted
 * replica grants the lock a second time.
 */
@Injectable()
export class UsualLock implements OnModuleDestroy {
  private redis: Redis | undefined;
  private readonly leaseTime: number;
  private readonly waitTime: number;

  constructor(private readonly config: ConfigService) {
    this.leaseTime = Number(config.get('LOCK_LEASE', '15000'));
    this.waitTime = Number(config.get('LOCK_WAIT', '10000'));
  }

  /** `lockHeld`: whether the lock was still there when the work had ended. */
  async run<T>(key: string, work: () => Promise<T>): Promise<{ result: T; lockHeld: boolean }> {
    const redis = (this.redis ??= this.connect());
    const owner = `${process.pid}:${randomUUID()}`;
    const deadline = performance.now() + this.waitTime;
    while ((await redis.set(key, owner, 'PX', this.leaseTime, 'NX')) !== 'OK') {
      if (performance.now() > deadline) throw new ConflictException(`${key} is locked`);
      await sleep(50 + Math.random() * 50);
    }
    const release = async (): Promise<boolean> => (await redis.eval(RELEASE, 1, key, owner)) === 1;
    const result = await work().catch(async (error: unknown) => {
      await release();
      throw error;
    });
    return { result, lockHeld: await release() };
  }

  onModuleDestroy(): void {
    this.redis?.disconnect();
  }

  private connect(): Redis {
    const { connection } = redisSettings(this.config);
    const redis = typeof connection === 'string' ? new Redis(connection) : new Redis(connection);
    redis.on('error', () => {}); // ioredis connects again, and calls wait meanwhile
    return redis;
  }
}
