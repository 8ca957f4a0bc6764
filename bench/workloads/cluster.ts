import { cpus } from 'node:os';
import { startCluster } from '../../test/support/cluster.js';
import { Part } from '../processes/part.js';
import { median, percentile } from '../report/statistics.js';
import type { Table } from '../report/table.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * The callers of distinct-keys, in two processes, on a Redis Cluster of one, two and three masters
 * with a replica each. How does throughput grow with the number of masters?
 */

const MASTERS = [1, 2, 3];
const CALLERS = [16, 256];
/** One process is not enough to keep several masters busy. */
const PROCESSES = 2;

interface Params {
  readonly nodes: readonly Server[];
  readonly callers: number;
  readonly warmUp: number;
  readonly time: number;
}

interface Figures {
  readonly perSecond: number;
  readonly p50: number;
}

export async function part({ nodes, callers, warmUp, time }: Params): Promise<Figures> {
  const { locks, app } = await startLocks(nodes[0]!, { connection: { nodes: [...nodes] } });
  const drive = async (ms: number): Promise<Figures> => {
    const latencies: number[] = [];
    const start = performance.now();
    await Promise.all(
      Array.from({ length: callers }, async (_, caller) => {
        for (let now = performance.now(), i = 0; now < start + ms; i++) {
          const lock = await locks.acquire(`bench:${process.pid}:${caller}:${i}`);
          await lock.release();
          const before = now;
          now = performance.now();
          latencies.push(now - before);
        }
      }),
    );
    const perSecond = (latencies.length / (performance.now() - start)) * 1000;
    return { perSecond, p50: percentile(latencies, 0.5) };
  };
  await drive(warmUp);
  const figures = await drive(time);
  await app.close();
  return figures;
}

async function measure(bench: Bench, nodes: readonly Server[], callers: number): Promise<Figures> {
  const params: Params = {
    nodes,
    callers: callers / PROCESSES,
    warmUp: bench.smoke ? 20 : 3_000,
    time: bench.smoke ? 50 : 3_000,
  };
  const figures = await Promise.all(
    Array.from({ length: PROCESSES }, () => Part.run<Figures>(import.meta.url, params)),
  );
  return {
    perSecond: figures.reduce((sum, { perSecond }) => sum + perSecond, 0),
    p50: median(figures.map(({ p50 }) => p50)),
  };
}

function tableOf(bench: Bench, results: ReadonlyMap<number, Figures[]>, callers: number): Table {
  const rate = (masters: number): number =>
    median((results.get(masters) ?? []).map(({ perSecond }) => perSecond));
  return {
    title: `Redis Cluster, ${callers} callers`,
    note:
      `Locks acquired and released in a second by ${PROCESSES} processes together, on new keys in all slots, medians of ${bench.rounds} rounds. ` +
      `Masters, replicas and callers shared ${cpus().length} cores, so the figures do not show the gain of machines of their own.`,
    columns: ['masters', 'servers', 'locks/s', 'range', 'p50 ms', '/ 1 master'],
    rows: MASTERS.map((masters) => {
      const figures = results.get(masters) ?? [];
      const rates = figures.map(({ perSecond }) => perSecond);
      return [
        masters,
        masters * 2,
        rate(masters),
        `${Math.round(Math.min(...rates))}-${Math.round(Math.max(...rates))}`,
        median(figures.map(({ p50 }) => p50)),
        rate(masters) / rate(1),
      ];
    }),
  };
}

export const cluster: Workload = {
  name: 'cluster',
  async run(bench): Promise<Report> {
    const results = new Map(CALLERS.map((callers) => [callers, new Map<number, Figures[]>()]));
    for (let round = 1; round <= bench.rounds; round++) {
      for (const masters of MASTERS) {
        const servers = await startCluster({ masters });
        try {
          for (const callers of CALLERS) {
            const own = results.get(callers)!;
            const nodes = servers.connection.nodes;
            own.set(masters, [...(own.get(masters) ?? []), await measure(bench, nodes, callers)]);
          }
        } finally {
          await servers.dispose();
        }
      }
      bench.log(`round ${round} of ${bench.rounds}`);
    }
    return { tables: CALLERS.map((callers) => tableOf(bench, results.get(callers)!, callers)) };
  },
};
