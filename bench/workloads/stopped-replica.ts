import { setTimeout as sleep } from 'node:timers/promises';
import { LockNotReplicatedError, type AcquireOptions, type LockService } from 'nestjs-replica-lock';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { percentile } from '../report/statistics.js';
import type { Cell } from '../report/table.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * One of two replicas is stopped, or stalls again and again. Some callers need both replicas, the
 * others need one. Which callers are delayed?
 */

/** Callers in a second, independent of the answers to earlier callers. */
const ARRIVALS = 230;
/** ms that one attempt waits for its confirmations. */
const REPLICA_TIMEOUT = 1_000;
const STALL_TIME = 300;

interface Params {
  readonly server: Server;
  readonly time: number;
  /** Share of the callers that need both replicas. */
  readonly needBoth: number;
}

/** ms from the request to the answer, for grants and for refusals that lacked a confirmation. */
interface Latencies {
  readonly granted: number[];
  readonly unconfirmed: number[];
  other: number;
}

interface Figures {
  readonly needOne: Latencies;
  readonly needBoth: Latencies;
}

export async function part({ server, time, needBoth }: Params, parent: Channel): Promise<Figures> {
  const { locks } = await startLocks(server, { replicaTimeout: REPLICA_TIMEOUT });
  await parent.ask('ready');
  const figures: Figures = { needOne: latencies(), needBoth: latencies() };
  const asked: Promise<void>[] = [];
  const start = performance.now();
  for (let i = 0; performance.now() - start < time; i++) {
    const needsBoth = Math.random() < needBoth;
    const into = needsBoth ? figures.needBoth : figures.needOne;
    asked.push(ask(locks, `bench:stopped:${i}`, { waitTime: 0, replicas: needsBoth ? 2 : 'majority' }, into));
    const nextAt = start + ((i + 1) / ARRIVALS) * 1000;
    await sleep(Math.max(0, nextAt - performance.now()));
  }
  await Promise.all(asked);
  return figures;
}

function latencies(): Latencies {
  return { granted: [], unconfirmed: [], other: 0 };
}

async function ask(locks: LockService, key: string, options: AcquireOptions, into: Latencies): Promise<void> {
  const start = performance.now();
  try {
    const lock = await locks.acquire(key, options);
    into.granted.push(performance.now() - start);
    await lock.release();
  } catch (error) {
    if (error instanceof LockNotReplicatedError) into.unconfirmed.push(performance.now() - start);
    else into.other++;
  }
}

interface Case {
  readonly name: string;
  readonly needBoth: number;
  /** Disturbs the servers until `isOver` returns true. */
  disturb(bench: Bench, isOver: () => boolean): Promise<void>;
}

const CASES: readonly Case[] = [
  { name: 'no fault', needBoth: 0.1, disturb: () => Promise.resolve() },
  {
    name: 'one replica stopped',
    needBoth: 0.1,
    disturb: async ({ servers }) => {
      await servers.replica(0).stop();
    },
  },
  {
    name: `one replica stalls ${STALL_TIME} of every ${2 * STALL_TIME} ms`,
    needBoth: 1,
    async disturb({ servers }, isOver) {
      while (!isOver()) {
        await servers.replica(0).stop();
        await sleep(STALL_TIME);
        servers.replica(0).resume();
        await sleep(STALL_TIME);
      }
    },
  },
];

export const stoppedReplica: Workload = {
  name: 'stopped-replica',
  async run(bench): Promise<Report> {
    const rows: Cell[][] = [];
    for (const { name, needBoth, disturb } of CASES) {
      const params: Params = { server: bench.server, time: bench.smoke ? 300 : 6_000, needBoth };
      const child = Part.start(import.meta.url, params);
      await child.channel.next();
      let isOver = false;
      const disturbing = disturb(bench, () => isOver);
      child.channel.send('go');
      const { result } = await child.channel.next<{ result: Figures }>();
      isOver = true;
      await disturbing;
      await child.end();
      if (name === 'one replica stopped') bench.servers.replica(0).resume();
      await bench.servers.waitUntilOnline();
      for (const [who, { granted, unconfirmed, other }] of [
        ['one', result.needOne],
        ['both', result.needBoth],
      ] as const) {
        if (granted.length + unconfirmed.length + other === 0) continue;
        rows.push([
          name,
          who,
          granted.length,
          percentile(granted, 0.5),
          percentile(granted, 0.99),
          unconfirmed.length,
          percentile(unconfirmed, 0.5),
          percentile(unconfirmed, 0.99),
          other,
        ]);
      }
      bench.log(name);
    }
    return {
      tables: [
        {
          title: 'One of two replicas in trouble',
          note: `${ARRIVALS} callers in a second, each on a key of its own, with replicaTimeout ${REPLICA_TIMEOUT} ms. 10% of the callers need both replicas; if a replica stalls, all do. Times are from the request to the answer.`,
          columns: [
            'case',
            'need',
            'granted',
            'p50 ms',
            'p99 ms',
            'unconfirmed',
            'refused after, p50 ms',
            'p99 ms',
            'other errors',
          ],
          rows,
        },
      ],
    };
  },
};
