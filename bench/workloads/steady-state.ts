import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Part } from '../processes/part.js';
import { numberIn } from '../report/cpu.js';
import { median, percentile, sum } from '../report/statistics.js';
import type { Table } from '../report/table.js';
import { COMMITTING_IN_GROUPS, subjectNamed } from '../subjects/index.js';
import { OURS } from '../subjects/replica-lock.js';
import type { Locker, Server } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * The callers of distinct-keys for half a minute, without a pause. A released key of this library
 * stays in Redis for 1 s as a tombstone, so after 1 s as many keys expire as are written. Does the
 * throughput stay the same, and how much memory does Redis need?
 */

interface Params {
  readonly subject: string;
  readonly server: Server;
  readonly callers: number;
  /** ms */
  readonly warmUp: number;
  readonly seconds: number;
}

interface Second {
  /** Locks that were released in this second. */
  readonly locks: number;
  /** ms for one lock, from the request to the end of its release. */
  readonly p50: number;
  readonly p99: number;
  /** The state of the master at the end of the second. */
  readonly keys: number;
  readonly bytes: number;
  /** Keys that expired in this second. */
  readonly expired: number;
}

interface Figures {
  readonly seconds: readonly Second[];
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
}

export async function part({ subject, server, callers, warmUp, seconds }: Params): Promise<Figures> {
  const locker = await subjectNamed(subject).connect(server);
  const control = new Redis(server);
  await drive(locker, callers, warmUp, () => {});
  await control.flushall();
  const latencies: number[][] = Array.from({ length: seconds }, () => []);
  const start = performance.now();
  const states = watchMaster(control, start, seconds);
  const failures = await drive(locker, callers, seconds * 1_000, (time) => {
    latencies[Math.floor((performance.now() - start) / 1_000)]?.push(time);
  });
  const all = latencies.flat();
  return {
    seconds: (await states).map((state, i) => ({
      ...state,
      locks: latencies[i]!.length,
      p50: percentile(latencies[i]!, 0.5),
      p99: percentile(latencies[i]!, 0.99),
    })),
    p50: percentile(all, 0.5),
    p99: percentile(all, 0.99),
    failures,
  };
}

let count = 0;

/** Resolves with the number of failures. */
async function drive(
  locker: Locker,
  callers: number,
  time: number,
  onReleased: (time: number) => void,
): Promise<number> {
  let failures = 0;
  const end = performance.now() + time;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let now = performance.now(); now < end;) {
        const before = now;
        try {
          await locker.hold(`bench:${++count}`, () => {});
          now = performance.now();
          onReleased(now - before);
        } catch {
          failures++;
          await sleep(1);
          now = performance.now();
        }
      }
    }),
  );
  return failures;
}

type MasterState = Pick<Second, 'keys' | 'bytes' | 'expired'>;

async function watchMaster(control: Redis, start: number, seconds: number): Promise<MasterState[]> {
  const states: MasterState[] = [];
  let expiredBefore = numberIn(await control.info('stats'), 'expired_keys');
  for (let second = 1; second <= seconds; second++) {
    await sleep(start + second * 1_000 - performance.now());
    const expired = numberIn(await control.info('stats'), 'expired_keys');
    const bytes = numberIn(await control.info('memory'), 'used_memory');
    states.push({ keys: await control.dbsize(), bytes, expired: expired - expiredBefore });
    expiredBefore = expired;
  }
  return states;
}

export const steadyState: Workload = {
  name: 'steady-state',
  async run(bench): Promise<Report> {
    const subjects = bench.subjects.filter(({ name }) => COMMITTING_IN_GROUPS.includes(name));
    const callers = bench.smoke ? 8 : 128;
    const seconds = bench.smoke ? 2 : 30;
    const results = new Map<string, Figures[]>();
    for (let round = 1; round <= bench.rounds; round++) {
      for (const { name } of bench.shuffled(subjects)) {
        await bench.servers.master.call('FLUSHALL');
        const params: Params = {
          subject: name,
          server: bench.server,
          callers,
          warmUp: bench.smoke ? 50 : 3_000,
          seconds,
        };
        const figures = await Part.run<Figures>(import.meta.url, params);
        results.set(name, [...(results.get(name) ?? []), figures]);
      }
      bench.log(`round ${round} of ${bench.rounds}`);
    }
    const title = `${seconds} s at ${callers} callers`;
    const own = results.get(OURS);
    return {
      tables: [
        summary(bench, title, results),
        ...(own === undefined ? [] : [secondBySecond(title, worstOf(own))]),
      ],
    };
  },
};

function worstSecond({ seconds }: Figures): Second {
  return seconds.reduce((worst, each) => (each.locks < worst.locks ? each : worst));
}

function medianLocks({ seconds }: Figures): number {
  return median(seconds.map(({ locks }) => locks));
}

function steadiness(figures: Figures): number {
  return worstSecond(figures).locks / medianLocks(figures);
}

/** The round with the lowest ratio of the worst to the median second. */
function worstOf(rounds: readonly Figures[]): Figures {
  return rounds.reduce((worst, each) => (steadiness(each) < steadiness(worst) ? each : worst));
}

const MIB = 2 ** 20;

function summary(bench: Bench, title: string, results: ReadonlyMap<string, readonly Figures[]>): Table {
  return {
    title,
    note: `Medians of ${bench.rounds} rounds; the last ratio is that of the worst round. Locks are counted in the second in which they were released. Highest p99 is that of the second with the highest. Keys and memory are the most in the master at the end of a second; memory includes the buffers of its connections.`,
    columns: [
      'subject',
      'locks/s, median second',
      'worst second',
      'worst / median',
      'lowest ratio',
      'p50 ms',
      'p99 ms',
      'highest p99 ms',
      'keys',
      'MiB',
      'failed',
    ],
    rows: [...results].map(([name, rounds]) => {
      const of = (figure: (each: Figures) => number): number => median(rounds.map(figure));
      return [
        name,
        of(medianLocks),
        of((each) => worstSecond(each).locks),
        of(steadiness),
        steadiness(worstOf(rounds)),
        of(({ p50 }) => p50),
        of(({ p99 }) => p99),
        of(({ seconds }) => Math.max(...seconds.map(({ p99 }) => p99))),
        of(({ seconds }) => Math.max(...seconds.map(({ keys }) => keys))),
        of(({ seconds }) => Math.max(...seconds.map(({ bytes }) => bytes)) / MIB),
        sum(rounds.map(({ failures }) => failures)),
      ];
    }),
  };
}

function secondBySecond(title: string, { seconds }: Figures): Table {
  return {
    title: `${title}, second by second: ${OURS}`,
    note: 'The round with the lowest ratio of the worst to the median second. Tombstones expire from the second second on.',
    columns: ['second', 'locks', 'p50 ms', 'p99 ms', 'expired keys', 'keys', 'MiB'],
    rows: seconds.map(({ locks, p50, p99, expired, keys, bytes }, i) => [
      i + 1,
      locks,
      p50,
      p99,
      expired,
      keys,
      bytes / MIB,
    ]),
  };
}
