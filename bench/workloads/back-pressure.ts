import { setTimeout as sleep } from 'node:timers/promises';
import type { LockService } from 'nestjs-replica-lock';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { percentile } from '../report/statistics.js';
import type { Cell } from '../report/table.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Report, Workload } from './workload.js';

/*
 * 50,000 callers ask in one instant: without a fault, while the master hangs, and all for one key.
 * Does each caller get its answer within its limit, and is the memory free again afterwards?
 */

const WAIT_TIME = 1_000;
const REPLICA_TIMEOUT = 1_000;

interface Params {
  readonly server: Server;
  readonly callers: number;
  readonly waitTime: number;
  readonly sameKey: boolean;
}

interface Figures {
  readonly granted: number;
  readonly refused: number;
  readonly p50: number;
  readonly p99: number;
  readonly slowest: number;
  readonly peakMiB: number;
  readonly leftMiB: number;
}

export async function part(
  { server, callers, waitTime, sameKey }: Params,
  parent: Channel,
): Promise<Figures> {
  const { locks } = await startLocks(server, { replicaTimeout: REPLICA_TIMEOUT, waitTime });
  if (sameKey) await locks.acquire('bench:same', { leaseTime: 60_000 });
  await parent.ask('ready');
  const before = heap();
  let peak = before;
  const watching = setInterval(() => (peak = Math.max(peak, heap({ collected: false }))), 20);
  const times: number[] = [];
  let granted = 0;
  await Promise.all(
    Array.from({ length: callers }, async (_, i) => {
      const asked = performance.now();
      const isGranted = await takeAndGiveBack(locks, sameKey ? 'bench:same' : `bench:pressure:${i}`, () =>
        times.push(performance.now() - asked),
      );
      if (isGranted) granted++;
    }),
  );
  clearInterval(watching);
  await sleep(100);
  return {
    granted,
    refused: callers - granted,
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
    slowest: Math.max(...times.map((time) => time)),
    peakMiB: (peak - before) / 2 ** 20,
    leftMiB: (heap() - before) / 2 ** 20,
  };
}

async function takeAndGiveBack(locks: LockService, key: string, onAnswer: () => void): Promise<boolean> {
  try {
    const lock = await locks.acquire(key);
    onAnswer();
    await lock.release();
    return true;
  } catch {
    onAnswer();
    return false;
  }
}

function heap({ collected = true } = {}): number {
  if (collected) (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().heapUsed;
}

export const backPressure: Workload = {
  name: 'back-pressure',
  async run(bench): Promise<Report> {
    const callers = bench.smoke ? 500 : 50_000;
    const rows: Cell[][] = [];
    for (const { name, waitTime, sameKey, hang } of [
      { name: 'distinct keys', waitTime: 10_000, sameKey: false, hang: false },
      { name: 'distinct keys, the master hangs', waitTime: WAIT_TIME, sameKey: false, hang: true },
      { name: 'one key that stays busy', waitTime: WAIT_TIME, sameKey: true, hang: false },
    ]) {
      const { master } = bench.servers;
      await master.call('FLUSHALL');
      const params: Params = { server: bench.server, callers, waitTime, sameKey };
      const child = Part.start(import.meta.url, params, ['--expose-gc']);
      await child.channel.next();
      if (hang) await master.stop();
      child.channel.send('go');
      const { result, failure } = await child.channel.next<{ result: Figures; failure?: string }>();
      if (hang) master.resume();
      await child.end();
      await bench.servers.waitUntilOnline();
      if (failure !== undefined) throw new Error(failure);
      const { granted, refused, p50, p99, slowest, peakMiB, leftMiB } = result;
      rows.push([name, waitTime, granted, refused, p50, p99, slowest, peakMiB, leftMiB]);
      bench.log(name);
    }
    return {
      tables: [
        {
          title: `${callers.toLocaleString('en-US')} acquisitions requested in one instant`,
          note: `Times are from the request to the answer. If an answer is outstanding, a refusal may come replicaTimeout (${REPLICA_TIMEOUT} ms) and 1 s after waitTime. Memory is the growth of the heap: at its peak with garbage, and at the end.`,
          columns: [
            'case',
            'waitTime ms',
            'granted',
            'refused',
            'p50 ms',
            'p99 ms',
            'slowest ms',
            'peak MiB',
            'left MiB',
          ],
          rows,
        },
      ],
    };
  },
};
