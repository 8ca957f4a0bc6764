import type { LockService } from 'nestjs-replica-lock';
import { Part } from '../processes/part.js';
import { percentile } from '../report/statistics.js';
import type { Cell } from '../report/table.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Report, Workload } from './workload.js';

/*
 * The cost of `once`: for the caller that runs the work and keeps its result, and for the callers
 * that get a kept result. `withLock` beside them shows what the lock alone costs.
 */

const KEPT_KEYS = 1_000;
const CALLERS = [1, 16, 128];
const KEEP_FOR = 60_000;

/** One call, the `i`th of this process. Keys of other rows start with another name. */
type Call = (locks: LockService, i: number) => Promise<unknown>;

const keep = (locks: LockService, key: string): Promise<unknown> =>
  locks.once(key, { keepFor: KEEP_FOR }, () => 'done');

const ROWS: Readonly<Record<string, Call>> = {
  'withLock on different keys': (locks, i) => locks.withLock(`bench:lock:${i}`, () => 'done'),
  'once that runs, on different keys': (locks, i) => keep(locks, `bench:run:${i}`),
  'a kept result, different keys': (locks, i) => keep(locks, `bench:kept:${i % KEPT_KEYS}`),
  'a kept result, one key': (locks) => keep(locks, 'bench:kept:0'),
};

interface Params {
  readonly server: Server;
  readonly row: string;
  readonly callers: number;
  /** ms */
  readonly time: number;
}

interface Figures {
  readonly perSecond: number;
  /** ms */
  readonly p50: number;
}

export async function part({ server, row, callers, time }: Params): Promise<Figures> {
  const { locks, app } = await startLocks(server);
  const call = ROWS[row]!;
  await Promise.all(Array.from({ length: KEPT_KEYS }, (_, i) => keep(locks, `bench:kept:${i}`)));
  let count = 0;
  const latencies: number[] = [];
  const start = performance.now();
  const loop = async (): Promise<void> => {
    for (let before = start; before < start + time;) {
      await call(locks, count++);
      const after = performance.now();
      latencies.push(after - before);
      before = after;
    }
  };
  await Promise.all(Array.from({ length: callers }, loop));
  const passed = performance.now() - start;
  await app.close();
  return { perSecond: (count / passed) * 1_000, p50: percentile(latencies, 0.5) };
}

export const runOnce: Workload = {
  name: 'run-once',
  async run(bench): Promise<Report> {
    const rows: Cell[][] = [];
    for (const row of Object.keys(ROWS)) {
      const cells: Cell[] = [row];
      for (const callers of CALLERS) {
        await bench.servers.master.call('FLUSHALL');
        const params: Params = { server: bench.server, row, callers, time: bench.smoke ? 200 : 3_000 };
        const { perSecond, p50 } = await Part.run<Figures>(import.meta.url, params);
        if (callers === 1) cells.push(p50);
        cells.push(perSecond);
      }
      rows.push(cells);
      bench.log(row);
    }
    return {
      tables: [
        {
          title: 'Run once',
          note: 'Calls of one process. The work does nothing and returns a short text. A kept result is read without a confirmation, and callers that read one key at the same moment share a read.',
          columns: ['call', '1 caller, p50 ms', ...CALLERS.map((callers) => `${callers} at once, per s`)],
          rows,
        },
      ],
    };
  },
};
