import { Redis } from 'ioredis';
import { Part } from '../processes/part.js';
import { commandCounts } from '../report/commands.js';
import type { Cell } from '../report/table.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Report, Workload } from './workload.js';

/*
 * The cost of locks that share a key: scripts of the master for one lock that is taken and given
 * back, and locks per second, beside holders that stay.
 */

const KEY = 'bench:limit';
const CALLERS = 16;

interface Params {
  readonly server: Server;
  /** Infinity does not survive JSON. */
  readonly limit: number | 'Infinity';
  /** All callers use one key. */
  readonly isShared: boolean;
  /** ms */
  readonly time: number;
}

/** Locks taken and given back in a second. */
export async function part({ server, limit: most, isShared, time }: Params): Promise<number> {
  const { locks } = await startLocks(server);
  const options = { limit: Number(most) };
  let count = 0;
  const start = performance.now();
  const loop = async (): Promise<void> => {
    while (performance.now() < start + time) {
      const key = isShared ? KEY : `${KEY}:${count}`;
      count++;
      await (await locks.acquire(key, options)).release();
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, loop));
  return (count / (performance.now() - start)) * 1_000;
}

/** Readers that stay for a minute. */
async function fill(server: Server, holders: number): Promise<void> {
  const client = new Redis(server);
  const ends = Date.now() + 60_000;
  const pipeline = client.pipeline();
  for (let i = 0; i < holders; i++)
    pipeline.hset(`lock:${KEY}`, `rl:host:1:stays:${i}`, `1700000000000000 ${ends} 1000000000`);
  if (holders > 0) pipeline.hset(`lock:${KEY}`, '', `1700000000000000 ${ends} 1000000000 0 0 1`);
  pipeline.pexpire(`lock:${KEY}`, 60_000);
  await pipeline.exec();
  client.disconnect();
}

const ROWS: readonly (readonly [string, number | 'Infinity', boolean, number])[] = [
  ['mutexes on different keys', 1, false, 0],
  ['limit 2 on different keys', 2, false, 0],
  ['limit 64 on one key', 64, true, 0],
  ['readers on one key', 'Infinity', true, 0],
  ['readers beside 1,000 that stay', 'Infinity', true, 1_000],
  ['readers beside 10,000 that stay', 'Infinity', true, 10_000],
];

export const limit: Workload = {
  name: 'limit',
  async run(bench): Promise<Report> {
    const { master } = bench.servers;
    const rows: Cell[][] = [];
    for (const [name, most, isShared, holders] of ROWS) {
      await master.call('FLUSHALL');
      await fill(bench.server, holders);
      await master.call('CONFIG', 'RESETSTAT');
      const params: Params = { server: bench.server, limit: most, isShared, time: bench.smoke ? 200 : 3_000 };
      const perSecond = await Part.run<number>(import.meta.url, params);
      const counts = await commandCounts(master);
      const usec = (counts['evalsha']?.usec ?? 0) + (counts['eval']?.usec ?? 0);
      const locks = (perSecond * params.time) / 1_000;
      rows.push([name, perSecond, usec / locks]);
    }
    return {
      tables: [
        {
          title: 'Locks with a limit',
          note: `Locks taken and given back by ${CALLERS} callers of one process, and microseconds of scripts in the master for each, by INFO commandstats.`,
          columns: ['subject', 'locks per s', 'us per lock'],
          rows,
        },
      ],
    };
  },
};
