import { Redis } from 'ioredis';
import { Part } from '../processes/part.js';
import { commandCounts } from '../report/commands.js';
import type { Cell } from '../report/table.js';
import { startLocks } from '../subjects/replica-lock.js';
import { LEASE, type Server } from '../subjects/subject.js';
import type { Report, Workload } from './workload.js';

/*
 * The cost of a lock in the master, by the master's own statistics: the script and the commands
 * around the script, compared with a bare SET NX PX.
 */

interface Params {
  readonly server: Server;
  readonly bare: boolean;
  readonly callers: number;
  readonly locks: number;
}

export async function part({ server, bare, callers, locks: count }: Params): Promise<void> {
  let next = 0;
  const take = await taker(server, bare);
  const loop = async (): Promise<void> => {
    while (next < count) await take(`bench:script:${next++}`);
  };
  await Promise.all(Array.from({ length: callers }, loop));
}

async function taker(server: Server, bare: boolean): Promise<(key: string) => Promise<unknown>> {
  if (bare) {
    const client = new Redis({ ...server, enableAutoPipelining: true });
    return (key) => client.set(key, 'rl:host:1234:abcdefgh:1', 'PX', LEASE, 'NX');
  }
  const { locks } = await startLocks(server);
  return (key) => locks.acquire(key);
}

export const scriptCost: Workload = {
  name: 'script-cost',
  async run(bench): Promise<Report> {
    const { master } = bench.servers;
    const rows: Cell[][] = [];
    for (const callers of [1, 16, 128]) {
      for (const bare of [true, false]) {
        await master.call('FLUSHALL');
        await master.call('CONFIG', 'RESETSTAT');
        const locks = bench.smoke ? 200 : callers === 1 ? 3_000 : 20_000;
        await Part.run(import.meta.url, { server: bench.server, bare, callers, locks } satisfies Params);
        const counts = await commandCounts(master);
        const of = (...names: string[]): number =>
          names.reduce((total, name) => total + (counts[name]?.usec ?? 0), 0) / locks;
        if (bare) rows.push(['SET NX PX', callers, of('set'), undefined, undefined, 1]);
        else
          rows.push([
            'acquire script, its share of a group',
            callers,
            of('evalsha'),
            of('eval'),
            of('info', 'wait', 'client|list'),
            locks / (counts['evalsha']?.calls ?? 1),
          ]);
      }
    }
    return {
      tables: [
        {
          title: 'The cost of a lock in the master',
          note: 'Microseconds per lock, by INFO commandstats. Watching is the read of the key for locks that are held for longer than 3 to 6 ms. Around are INFO, WAIT, INFO and CLIENT LIST, which a group shares, and those of the session itself.',
          columns: ['subject', 'callers', 'us per lock', 'watching', 'around', 'locks per call'],
          rows,
        },
      ],
    };
  },
};
