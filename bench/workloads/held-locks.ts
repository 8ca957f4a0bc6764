import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { commandCounts } from '../report/commands.js';
import { percentile, sum } from '../report/statistics.js';
import type { Cell } from '../report/table.js';
import type { Server } from '../subjects/subject.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Report, Workload } from './workload.js';

/*
 * One process holds many locks with a lease of 30 s and renews each of them every ten seconds. What
 * does this cost, do renewals come in bursts, and how long do other acquisitions take meanwhile?
 */

const LEASE = 30_000;
/** ms: renewals are counted in bins of this length. */
const BIN = 100;
/** ms between two acquisitions of the foreground. */
const FOREGROUND_PAUSE = 20;

interface Params {
  readonly server: Server;
  readonly locks: number;
  readonly time: number;
}

interface Figures {
  readonly cpu: number;
  readonly renewals: number;
  /** The busiest bin divided by the mean bin. */
  readonly burst: number;
  readonly p50: number;
  readonly p99: number;
  readonly lost: number;
}

export async function part({ server, locks: count, time }: Params, parent: Channel): Promise<Figures> {
  const { locks } = await startLocks(server, { leaseTime: LEASE });
  let next = 0;
  const take = async (): Promise<void> => {
    while (next < count) await locks.acquire(`bench:held:${next++}`);
  };
  await Promise.all(Array.from({ length: Math.min(512, count) }, take));
  // After one renewal the locks are spread over the period.
  await sleep(time);
  let lost = 0;
  const bins: number[] = [];
  const start = performance.now();
  const events = locks.events.subscribe(({ type }) => {
    if (type === 'lost') lost++;
    if (type !== 'renewed') return;
    const bin = Math.floor((performance.now() - start) / BIN);
    bins[bin] = (bins[bin] ?? 0) + 1;
  });
  await parent.ask('begin');
  const cpuBefore = process.cpuUsage();
  const latencies: number[] = [];
  const pending: Promise<void>[] = [];
  while (performance.now() - start < time) {
    const asked = performance.now();
    pending.push(
      locks.withLock(`bench:foreground:${asked}`, { leaseTime: LEASE }, () => {
        latencies.push(performance.now() - asked);
      }),
    );
    await sleep(FOREGROUND_PAUSE);
  }
  await Promise.all(pending);
  const passed = performance.now() - start;
  const { user, system } = process.cpuUsage(cpuBefore);
  events.unsubscribe();
  await parent.ask('end');
  const counted = Array.from({ length: Math.floor(passed / BIN) }, (_, i) => bins[i] ?? 0);
  const renewals = sum(counted);
  return {
    cpu: ((user + system) / 1000 / passed) * 100,
    renewals: (renewals / passed) * 1000,
    burst: Math.max(...counted) / (renewals / counted.length),
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    lost,
  };
}

export const heldLocks: Workload = {
  name: 'held-locks',
  async run(bench): Promise<Report> {
    const rows: Cell[][] = [];
    const time = bench.smoke ? 500 : LEASE / 3 + 1_000;
    for (const locks of bench.smoke ? [0, 100] : [0, 1_000, 10_000, 100_000]) {
      const { master } = bench.servers;
      await master.call('FLUSHALL');
      const child = Part.start(import.meta.url, { server: bench.server, locks, time } satisfies Params);
      await child.channel.next();
      await master.call('CONFIG', 'RESETSTAT');
      const cpuBefore = await cpuTime(master);
      child.channel.send('go');
      await child.channel.next();
      const masterCpu = ((await cpuTime(master)) - cpuBefore) / time;
      const counts = await commandCounts(master);
      const commands = sum(
        ['evalsha', 'eval', 'info', 'wait', 'client|list', 'client|unblock', 'ping'].map(
          (name) => counts[name]?.calls ?? 0,
        ),
      );
      child.channel.send('done');
      const { result, failure } = await child.channel.next<{ result: Figures; failure?: string }>();
      await child.end();
      if (failure !== undefined) throw new Error(failure);
      const { cpu, renewals, burst, p50, p99, lost } = result;
      rows.push([
        locks,
        renewals,
        locks === 0 ? undefined : burst,
        (commands / time) * 1000,
        cpu,
        masterCpu * 100,
        p50,
        p99,
        lost,
      ]);
      bench.log(`${locks} locks`);
    }
    return {
      tables: [
        {
          title: 'Renewal of held locks with a lease of 30 s',
          note: `Each lock is renewed every 10 s, confirmed by the replicas. Burst is the most renewals in ${BIN} ms divided by the mean. Commands are those of this process in a second. The foreground acquires another lock every ${FOREGROUND_PAUSE} ms; its times are from request to grant.`,
          columns: [
            'locks',
            'renewals/s',
            'burst',
            'commands/s',
            'CPU %',
            "master's CPU %",
            'foreground p50 ms',
            'p99 ms',
            'lost',
          ],
          rows,
        },
      ],
    };
  },
};

/** ms of CPU that the server has used. */
async function cpuTime(server: { info(section: string): Promise<Record<string, string>> }): Promise<number> {
  const { used_cpu_user = '0', used_cpu_sys = '0' } = await server.info('cpu');
  return (Number(used_cpu_user) + Number(used_cpu_sys)) * 1000;
}
