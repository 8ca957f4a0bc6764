import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import type { Plot } from '../report/plot.js';
import { median, percentile } from '../report/statistics.js';
import type { Table } from '../report/table.js';
import { subjectNamed } from '../subjects/index.js';
import type { Locker, Server } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * One key with a holder in one process and waiters in two others. The holder releases the key. When
 * does the next waiter hold the key, and when does the last?
 */

interface Case {
  readonly waiters: number;
  /** ms for the waiters to ask and to begin to wait. Then everything rests until the release. */
  readonly rest: number;
}

/** After a long rest, caches and processors have gone to sleep. */
const CASES: readonly Case[] = [
  { waiters: 1, rest: 30 },
  { waiters: 1, rest: 400 },
  { waiters: 16, rest: 400 },
  { waiters: 100, rest: 400 },
];
const PROCESSES = 2;
/** Locks that each process takes before the measurement, so that its code is compiled. */
const WARM_UP = 500;
/** ms after which the last waiter is given up. */
const PATIENCE = 10_000;

interface Params {
  readonly subject: string;
  readonly server: Server;
}

type Order =
  | { readonly do: 'hold'; readonly key: string }
  | { readonly do: 'let go'; readonly key: string }
  | { readonly do: 'wait'; readonly key: string; readonly waiters: number };

/** When a waiter got and released the lock, by the clock that all processes share (ms). */
interface Turn {
  readonly takenAt: number;
  readonly letGoAt: number;
  /** The waiter's position among the waiters of its process, by the time of the request. */
  readonly place: number;
}

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export async function part({ subject, server }: Params, parent: Channel): Promise<void> {
  const locker = await subjectNamed(subject).connect(server);
  for (let i = 0; i < WARM_UP; i++) await locker.hold(`bench:warm-up:${process.pid}:${i}`, () => {});
  parent.send('ready');
  const letGo = new Map<string, () => void>();
  for (;;) {
    const order = await parent.next<Order>();
    if (order.do === 'hold') {
      void locker.hold(order.key, () => {
        parent.send('held');
        return new Promise<void>((end) => letGo.set(order.key, end));
      });
    } else if (order.do === 'let go') {
      const at = now();
      letGo.get(order.key)?.();
      parent.send(at);
    } else
      for (let place = 0; place < order.waiters; place++) void takeTurn(locker, order.key, place, parent);
  }
}

async function takeTurn(locker: Locker, key: string, place: number, parent: Channel): Promise<void> {
  let turn: Turn | undefined;
  await locker.hold(key, () => {
    const takenAt = now();
    turn = { takenAt, letGoAt: now(), place };
  });
  parent.send(turn);
}

interface Figures {
  readonly handOvers: number[];
  readonly last: number[];
  /** Share of the pairs in one process in which the later request was granted first. */
  readonly overtaken: number[];
  readonly stuck: number;
}

async function measure(bench: Bench, subject: string, { waiters, rest }: Case): Promise<Figures> {
  const turns = turnsFor(bench, waiters, rest);
  const params: Params = { subject, server: bench.server };
  const parts = Array.from({ length: 1 + PROCESSES }, () => Part.start(import.meta.url, params));
  const figures = { handOvers: [] as number[], last: [] as number[], overtaken: [] as number[], stuck: 0 };
  try {
    const [holder, ...queues] = parts.map(({ channel }) => channel) as [Channel, ...Channel[]];
    await Promise.all(parts.map(({ channel }) => channel.next()));
    for (let turn = 0; turn < turns; turn++) {
      const key = `bench:hand-over:${turn}`;
      await holder.ask({ do: 'hold', key });
      const shares = queues.map((_, i) => Math.floor((waiters + i) / queues.length)).toReversed();
      const busy = queues.filter((_, i) => shares[i]! > 0);
      busy.forEach((queue, i) => queue.send({ do: 'wait', key, waiters: shares[i]! }));
      await sleep(rest * (0.75 + Math.random() / 2));
      const letGoAt = await holder.ask<number>({ do: 'let go', key });
      const served: Turn[][] = busy.map(() => []);
      const all = busy.map(async (queue, i) => {
        while (served[i]!.length < shares[i]!) served[i]!.push(await queue.next<Turn>());
        return true;
      });
      const isStuck = !(await Promise.race([
        Promise.all(all),
        sleep(bench.smoke ? 3_000 : PATIENCE, false, { ref: false }),
      ]));
      const inOrder = served.flat().toSorted((a, b) => a.takenAt - b.takenAt);
      figures.handOvers.push(
        ...inOrder.map(({ takenAt }, i) => takenAt - (inOrder[i - 1]?.letGoAt ?? letGoAt)),
      );
      if (isStuck) {
        figures.stuck++;
        for (const each of all) each.catch(() => {});
        break;
      }
      figures.last.push(inOrder.at(-1)!.takenAt - letGoAt);
      if (waiters > PROCESSES) figures.overtaken.push(...served.map(overtakenShare));
    }
  } finally {
    await Promise.all(parts.map((each) => each.end()));
  }
  return figures;
}

function overtakenShare(turns: readonly Turn[]): number {
  let pairs = 0;
  let overtaken = 0;
  for (const one of turns) {
    for (const other of turns) {
      if (one.place >= other.place) continue;
      pairs++;
      if (one.takenAt > other.takenAt) overtaken++;
    }
  }
  return pairs === 0 ? 0 : overtaken / pairs;
}

/** Enough turns for a median, and few enough for subjects that poll for seconds. */
function turnsFor({ smoke }: Bench, waiters: number, rest: number): number {
  if (smoke) return 1;
  if (waiters === 1) return rest < 100 ? 30 : 10;
  return waiters === 16 ? 4 : 2;
}

export const handOver: Workload = {
  name: 'hand-over',
  async run(bench): Promise<Report> {
    const subjects = bench.waiting;
    const results = new Map<string, Figures[]>();
    for (let round = 1; round <= bench.rounds; round++) {
      for (const subject of bench.shuffled(subjects)) {
        for (const each of bench.smoke ? CASES.filter(({ waiters }) => waiters === 16) : CASES) {
          const name = nameOf(subject.name, each);
          const figures = await measure(bench, subject.name, each);
          results.set(name, [...(results.get(name) ?? []), figures]);
        }
      }
      bench.log(`round ${round} of ${bench.rounds}`);
    }
    const rows = CASES.map((each) => ({
      ...each,
      rows: subjects
        .flatMap(({ name }) => {
          const all = results.get(nameOf(name, each));
          return all === undefined ? [] : [{ name, ...rowOf(all) }];
        })
        .toSorted((a, b) => a.p50 - b.p50),
    })).filter((each) => each.rows.length > 0);
    return {
      tables: rows.map((each) => tableOf(each, each.rows)),
      plots: [plotOf(rows.find(({ waiters }) => waiters === 16)?.rows ?? [])],
    };
  },
};

function nameOf(subject: string, { waiters, rest }: Case): string {
  return `${subject} ${waiters} ${rest}`;
}

interface Row {
  readonly name: string;
  readonly p50: number;
  readonly p99: number;
  readonly last: number;
  readonly overtaken: number | undefined;
  readonly stuck: number;
}

function rowOf(all: readonly Figures[]): Omit<Row, 'name'> {
  const handOvers = all.flatMap((each) => each.handOvers);
  const overtaken = all.flatMap((each) => each.overtaken);
  return {
    p50: median(handOvers),
    p99: percentile(handOvers, 0.99),
    last: median(all.flatMap((each) => each.last)),
    overtaken: overtaken.length === 0 ? undefined : overtaken.reduce((a, b) => a + b, 0) / overtaken.length,
    stuck: all.reduce((total, each) => total + each.stuck, 0),
  };
}

function tableOf({ waiters, rest }: Case, rows: readonly Row[]): Table {
  const whom = waiters === 1 ? '1 waiter in 1 process' : `${waiters} waiters in ${PROCESSES} processes`;
  return {
    title: `Hand-over of one key to ${whom}, after ${rest} ms of rest`,
    note: 'Times are from the release to the next grant, and to the last grant. Overtaken is the share of the pairs in one process in which the later request was granted first. 0 means first come, first served; 0.5 means by chance.',
    columns: ['subject', 'p50 ms', 'p99 ms', 'last grant ms', 'overtaken', 'stuck'],
    rows: rows.map(({ name, p50, p99, last, overtaken, stuck }) => [name, p50, p99, last, overtaken, stuck]),
  };
}

function plotOf(rows: readonly Row[]): Plot {
  return {
    name: 'hand-over',
    title: 'Hand-over among 16 waiters in two processes: median and last grant (ms)',
    unit: 'ms',
    log: true,
    categories: rows.map(({ name }) => name),
    series: [
      { name: 'next grant', values: rows.map(({ p50 }) => p50) },
      { name: 'last grant', values: rows.map(({ last }) => last) },
    ],
    emphasis: (name) => name.startsWith('nestjs-replica-lock'),
  };
}
