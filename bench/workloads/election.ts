import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { median, percentile } from '../report/statistics.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Report, Workload } from './workload.js';

/*
 * Two processes stand for one election. The leader resigns. When does the other process lead? And
 * what does a call cost that runs only on the leader?
 */

const KEY = 'bench:election';
/** ms for a process that has resigned to stand again, and to wait. */
const SETTLE_TIME = 60;

interface Params {
  readonly server: Server;
  readonly calls: number;
}

type Order = 'stand' | 'resign' | 'call';

/** By the clock that all processes share (ms). */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export async function part({ server, calls }: Params, parent: Channel): Promise<void> {
  const { locks } = await startLocks(server);
  for (;;) {
    const order = await parent.next<Order>();
    const election = locks.elect(KEY);
    if (order === 'call') {
      const start = now();
      for (let i = 0; i < calls; i++) await election.runIfLeader(() => i);
      parent.send(((now() - start) * 1_000) / calls);
    } else if (order === 'resign') {
      parent.send(now());
      await election.resign();
    } else
      election.changes.subscribe(({ type }) => {
        if (type === 'elected') parent.send(now());
      });
  }
}

interface Figures {
  readonly handOvers: readonly number[];
  /** us for a call of `runIfLeader`. */
  readonly leads: readonly number[];
  readonly follows: readonly number[];
}

async function measure(params: Params, terms: number): Promise<Figures> {
  const parts = [0, 1].map(() => Part.start(import.meta.url, params));
  try {
    let [leader, other] = parts.map(({ channel }) => channel) as [Channel, Channel];
    await leader.ask('stand' satisfies Order);
    const handOvers: number[] = [];
    for (let term = 0; term < terms; term++) {
      other.send('stand' satisfies Order);
      await sleep(SETTLE_TIME * (0.75 + Math.random() / 2));
      const resignedAt = await leader.ask<number>('resign' satisfies Order);
      handOvers.push((await other.next<number>()) - resignedAt);
      [leader, other] = [other, leader];
    }
    other.send('stand' satisfies Order);
    const leads: number[] = [];
    const follows: number[] = [];
    // The first calls warm up.
    for (let block = -1; block < 5; block++) {
      for (const [channel, times] of [
        [leader, leads],
        [other, follows],
      ] as const) {
        const time = await channel.ask<number>('call' satisfies Order);
        if (block >= 0) times.push(time);
      }
    }
    return { handOvers, leads, follows };
  } finally {
    await Promise.all(parts.map((each) => each.end()));
  }
}

export const election: Workload = {
  name: 'election',
  async run({ server, rounds, smoke }): Promise<Report> {
    const terms = smoke ? 4 : 50 * rounds;
    const { handOvers, leads, follows } = await measure({ server, calls: smoke ? 1_000 : 50_000 }, terms);
    return {
      tables: [
        {
          title: 'Leader election of two processes',
          note: 'Times are from the call of resign to the election of the other process. A call is one runIfLeader of empty work, one after the other, on the leader and on the other process.',
          columns: ['next leader p50 ms', 'p99 ms', 'longest ms', 'a call on the leader us', 'elsewhere us'],
          rows: [
            [
              median(handOvers),
              percentile(handOvers, 0.99),
              Math.max(...handOvers),
              median(leads),
              median(follows),
            ],
          ],
        },
      ],
    };
  },
};
