import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { countClientCommands } from '../report/commands.js';
import { median } from '../report/statistics.js';
import type { Cell } from '../report/table.js';
import { subjectNamed } from '../subjects/index.js';
import type { Server, Subject } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * Waiters in two processes wait for locks that a third process holds. How many commands do the
 * waiters send meanwhile, and what do they cost their own process?
 */

interface Load {
  readonly waiters: number;
  readonly keys: number;
}
const FEW: Load = { waiters: 100, keys: 1 };
const MANY: Load = { waiters: 10_000, keys: 100 };
const PROCESSES = 2;
/** ms until the first renewal of each lock. From then on waiters know when to expect renewals. */
const SETTLE_TIME = 9_000;

interface Params {
  readonly subject: string;
  readonly server: Server;
  readonly load: Load;
  readonly role: 'holder' | 'waiter';
}

export async function part({ subject, server, load, role }: Params, parent: Channel): Promise<void> {
  const locker = await subjectNamed(subject).connect(server);
  const { keys, waiters } = load;
  if (role === 'holder') {
    const held = Array.from(
      { length: keys },
      (_, i) =>
        new Promise<void>((isHeld) => {
          void locker.hold(`bench:idle:${i}`, () => {
            isHeld();
            return new Promise<void>(() => {});
          });
        }),
    );
    await Promise.all(held);
  } else {
    for (let i = 0; i < waiters / PROCESSES; i++) void locker.hold(`bench:idle:${i % keys}`, () => {});
  }
  parent.send('ready');
  for (;;) {
    await parent.next();
    const { user, system } = process.cpuUsage();
    parent.send((user + system) / 1000);
  }
}

interface Figures {
  readonly commands: number;
  readonly baseline: number;
  /** % of a core, for one waiting process. */
  readonly cpu: number;
}

async function measure(bench: Bench, subject: string, load: Load): Promise<Figures> {
  await bench.servers.master.call('FLUSHALL');
  const time = bench.smoke ? 500 : 10_000;
  const settle = bench.smoke ? 200 : SETTLE_TIME;
  const start = async (role: Params['role'], waiters: number): Promise<Part> => {
    const params: Params = { subject, server: bench.server, load: { ...load, waiters }, role };
    const child = Part.start(import.meta.url, params);
    await child.channel.next();
    return child;
  };
  const watch = async (waiters: number): Promise<{ commands: number; cpu: number }> => {
    const parts = [await start('holder', 0)];
    try {
      for (let i = 0; i < PROCESSES; i++) parts.push(await start('waiter', waiters));
      await sleep(settle);
      const before = await parts[1]!.channel.ask<number>('cpu');
      const count = await countClientCommands(bench.servers.master, time);
      const after = await parts[1]!.channel.ask<number>('cpu');
      return { commands: (count / time) * 1000, cpu: ((after - before) / time) * 100 };
    } finally {
      await Promise.all(parts.map((each) => each.end()));
    }
  };
  const without = await watch(0);
  await bench.servers.master.call('FLUSHALL');
  const withThem = await watch(load.waiters);
  return { commands: withThem.commands, baseline: without.commands, cpu: withThem.cpu };
}

/** 10,000 polling waiters would measure the server, not the subject. */
function canBeMany(subject: Subject): boolean {
  return subject.kind === 'ours' || subject.name === 'node-redisson';
}

export const idleWaiters: Workload = {
  name: 'idle-waiters',
  async run(bench): Promise<Report> {
    const subjects = bench.waiting;
    const tables = [];
    for (const load of [FEW, MANY]) {
      const rows: Cell[][] = [];
      for (const subject of bench.shuffled(load === FEW ? subjects : subjects.filter(canBeMany))) {
        const all: Figures[] = [];
        // Ten seconds are enough: periodic commands occur in that time.
        for (let round = 0; round < Math.min(bench.rounds, load === FEW ? 1 : 2); round++)
          all.push(await measure(bench, subject.name, load));
        const commands = median(all.map((each) => each.commands));
        const baseline = median(all.map((each) => each.baseline));
        rows.push([
          subject.name,
          Math.max(0, commands - baseline),
          commands,
          baseline,
          median(all.map(({ cpu }) => cpu)),
        ]);
        bench.log(`${load.waiters} waiters: ${subject.name}`);
      }
      tables.push({
        title: `${load.waiters.toLocaleString('en-US')} idle waiters on ${load.keys} held ${load.keys === 1 ? 'key' : 'keys'}, in ${PROCESSES} processes`,
        note: 'Commands that all clients sent to the master in a second, without commands of scripts. The columns are the commands for the waiters, all commands, and those of the same processes without a waiter. CPU is that of one waiting process.',
        columns: ['subject', 'commands/s for waiting', 'all', 'without waiters', 'CPU %'],
        rows: rows.toSorted((a, b) => Number(a[1]) - Number(b[1])),
      });
    }
    return { tables };
  },
};
