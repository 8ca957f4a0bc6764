import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Part } from '../processes/part.js';
import type { Plot } from '../report/plot.js';
import { median, percentile } from '../report/statistics.js';
import type { Table } from '../report/table.js';
import { GROUP_COMMIT, SET_NX_PIPELINED } from '../subjects/floors.js';
import { subjectNamed } from '../subjects/index.js';
import type { Locker, Server } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * Each caller acquires and releases one lock after the other, every lock on a new key, so no caller
 * waits for another. What does a lock cost, and how many can one process take?
 */

const CALLERS = [1, 16, 128, 1024];

interface Params {
  readonly subject: string;
  readonly server: Server;
  readonly warmUp: number;
  readonly time: number;
}

interface Figures {
  readonly callers: number;
  /** Locks acquired and released in a second. */
  readonly perSecond: number;
  /** ms for one lock, from the request to the end of its release. */
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
  /** us of CPU for a lock, in this process and in the master: least affected by other processes. */
  readonly cpu: number;
  readonly masterCpu: number;
}

export async function part({ subject, server, warmUp, time }: Params): Promise<Figures[]> {
  const locker = await subjectNamed(subject).connect(server);
  const control = new Redis(server);
  const figures: Figures[] = [];
  for (const callers of CALLERS) {
    await drive(locker, control, callers, warmUp);
    figures.push(await drive(locker, control, callers, time));
  }
  await locker.close();
  control.disconnect();
  return figures;
}

let count = 0;

async function drive(locker: Locker, control: Redis, callers: number, time: number): Promise<Figures> {
  const latencies: number[] = [];
  let failures = 0;
  const masterBefore = await masterCpuTime(control);
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  const end = start + time;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let now = performance.now(); now < end;) {
        try {
          await locker.hold(`bench:${++count}`, () => {});
        } catch {
          failures++;
          await sleep(1);
        }
        const before = now;
        now = performance.now();
        latencies.push(now - before);
      }
    }),
  );
  const passed = performance.now() - start;
  const { user, system } = process.cpuUsage(cpuBefore);
  const masterCpu = (await masterCpuTime(control)) - masterBefore;
  return {
    callers,
    cpu: (user + system) / latencies.length,
    masterCpu: masterCpu / latencies.length,
    perSecond: ((latencies.length - failures) / passed) * 1000,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    failures,
  };
}

/** us of CPU that the server has used. */
async function masterCpuTime(control: Redis): Promise<number> {
  const info = await control.info('cpu');
  const seconds = (name: string): number => Number(new RegExp(`${name}:([\\d.]+)`).exec(info)?.[1] ?? 0);
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1e6;
}

export const distinctKeys: Workload = {
  name: 'distinct-keys',
  async run(bench): Promise<Report> {
    const results = new Map<string, Figures[]>();
    const failures: string[] = [];
    for (let round = 1; round <= bench.rounds; round++) {
      for (const subject of bench.shuffled(bench.subjects)) {
        await bench.servers.master.call('FLUSHALL');
        const params: Params = {
          subject: subject.name,
          server: bench.server,
          warmUp: bench.smoke ? 20 : 300,
          time: bench.smoke ? 50 : 1_000,
        };
        try {
          const figures = await Part.run<Figures[]>(import.meta.url, params);
          results.set(subject.name, [...(results.get(subject.name) ?? []), ...figures]);
        } catch (error) {
          failures.push(`${subject.name}: ${String(error)}`);
        }
      }
      bench.log(`round ${round} of ${bench.rounds}`);
    }
    if (failures.length > 0) bench.log(failures.join('\n'));
    return {
      tables: CALLERS.map((callers) => tableOf(bench, results, callers)),
      plots: [plotOf(bench, results)],
    };
  },
};

interface Row {
  readonly perSecond: number;
  readonly range: string;
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
  readonly cpu: number;
  readonly masterCpu: number;
}

function rowOf(results: ReadonlyMap<string, Figures[]>, subject: string, callers: number): Row | undefined {
  const figures = results.get(subject)?.filter((each) => each.callers === callers) ?? [];
  if (figures.length === 0) return undefined;
  const rates = figures.map(({ perSecond }) => perSecond);
  return {
    perSecond: median(rates),
    range: `${Math.round(Math.min(...rates))}-${Math.round(Math.max(...rates))}`,
    p50: median(figures.map(({ p50 }) => p50)),
    p99: median(figures.map(({ p99 }) => p99)),
    failures: figures.reduce((total, each) => total + each.failures, 0),
    cpu: median(figures.map(({ cpu }) => cpu)),
    masterCpu: median(figures.map(({ masterCpu }) => masterCpu)),
  };
}

function tableOf(bench: Bench, results: ReadonlyMap<string, Figures[]>, callers: number): Table {
  const floor = rowOf(results, GROUP_COMMIT, callers);
  const pipelined = rowOf(results, SET_NX_PIPELINED, callers);
  const rows = bench.subjects
    .flatMap((subject) => {
      const row = rowOf(results, subject.name, callers);
      return row === undefined ? [] : [{ subject, row }];
    })
    .toSorted((a, b) => b.row.perSecond - a.row.perSecond);
  return {
    title: `Distinct keys, ${callers} ${callers === 1 ? 'caller' : 'callers'}`,
    note: `Locks acquired and released in a second, and the time from the request to the end of the release, medians of ${bench.rounds} rounds. CPU is that of this process and of the master. Other work on the machine affects CPU figures less than the others.`,
    columns: [
      'subject',
      'confirmed',
      'locks/s',
      'range',
      'p50 ms',
      'p99 ms',
      `/ ${GROUP_COMMIT}`,
      `/ ${SET_NX_PIPELINED}`,
      'p50 / group commit',
      'CPU us per lock',
      "master's CPU us",
      'failed',
    ],
    rows: rows.map(({ subject, row }) => [
      subject.name,
      subject.confirmed ? 'yes' : '',
      row.perSecond,
      row.range,
      row.p50,
      row.p99,
      row.perSecond / (floor?.perSecond ?? Number.NaN),
      row.perSecond / (pipelined?.perSecond ?? Number.NaN),
      row.p50 / (floor?.p50 ?? Number.NaN),
      row.cpu,
      row.masterCpu,
      row.failures,
    ]),
  };
}

function plotOf(bench: Bench, results: ReadonlyMap<string, Figures[]>): Plot {
  const names = bench.subjects.map(({ name }) => name).filter((name) => results.has(name));
  const at = (name: string, callers: number): number => rowOf(results, name, callers)?.perSecond ?? 0;
  const categories = names.toSorted((a, b) => at(b, 128) - at(a, 128));
  return {
    name: 'distinct-keys',
    title: 'Locks acquired and released in a second, by number of callers',
    unit: 'locks/s',
    categories,
    series: CALLERS.slice(1).map((callers) => ({
      name: `${callers} callers`,
      values: categories.map((name) => at(name, callers)),
    })),
    emphasis: (name) => bench.subjects.some((each) => each.name === name && each.kind === 'ours'),
  };
}
