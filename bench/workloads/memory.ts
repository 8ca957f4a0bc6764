import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Report, Workload } from './workload.js';

/*
 * The memory of a held lock and of a waiter, in the process and in Redis.
 */

interface Params {
  readonly server: Server;
  readonly locks: number;
  readonly waiters: number;
  readonly busyKeys: number;
}

interface Figures {
  readonly perLock: number;
  readonly perWaiter: number;
  readonly perLockInRedis: number;
}

async function heapUsed(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await sleep(20);
  }
  const { heapUsed: heap, external } = process.memoryUsage();
  return heap + external;
}

export async function part(
  { server, locks: count, waiters, busyKeys }: Params,
  parent: Channel,
): Promise<Figures> {
  const { locks } = await startLocks(server);
  const takeAll = async (prefix: string, many: number): Promise<void> => {
    let next = 0;
    const take = async (): Promise<void> => {
      while (next < many) await locks.acquire(`${prefix}${next++}`);
    };
    await Promise.all(Array.from({ length: 256 }, take));
  };
  // Warm up: buffers of connections and compiled code must not count as memory of locks.
  await takeAll('bench:warm:', 2_000);
  const before = await heapUsed();
  const redisBefore = await parent.ask<number>('redis');
  await takeAll('bench:memory:', count);
  const withLocks = await heapUsed();
  const redisWithLocks = await parent.ask<number>('redis');
  for (let i = 0; i < waiters; i++) locks.acquire(`bench:memory:${i % busyKeys}`).catch(() => {});
  await sleep(500);
  const withWaiters = await heapUsed();
  return {
    perLock: (withLocks - before) / count,
    perWaiter: (withWaiters - withLocks) / waiters,
    perLockInRedis: (redisWithLocks - redisBefore) / count,
  };
}

export const memory: Workload = {
  name: 'memory',
  async run(bench): Promise<Report> {
    const { master } = bench.servers;
    await master.call('FLUSHALL');
    // Fill the replication backlog, which must not count as memory of locks.
    for (let i = 0; i < 24; i++) await master.call('SET', 'bench:backlog', 'x'.repeat(100_000));
    await master.call('DEL', 'bench:backlog');
    const count = bench.smoke ? 1_000 : 50_000;
    const params: Params = { server: bench.server, locks: count, waiters: count, busyKeys: 100 };
    const child = Part.start(import.meta.url, params, ['--expose-gc']);
    for (let i = 0; i < 2; i++) {
      await child.channel.next();
      child.channel.send(Number((await master.info('memory'))['used_memory']));
    }
    const { result, failure } = await child.channel.next<{ result: Figures; failure?: string }>();
    await child.end();
    if (failure !== undefined) throw new Error(failure);
    return {
      tables: [
        {
          title: 'Memory',
          note: `One process holds and renews ${count.toLocaleString('en-US')} locks, and as many waiters wait for ${params.busyKeys} of their keys. The figure of Redis includes the key, its expiry and the entry of client tracking.`,
          columns: ['memory of', 'bytes'],
          rows: [
            ['a held lock, in the process', result.perLock],
            ['a waiter, in the process', result.perWaiter],
            ['a held lock, in Redis', result.perLockInRedis],
          ],
        },
      ],
    };
  },
};
