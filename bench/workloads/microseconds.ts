import { Session, type Profiler } from 'node:inspector/promises';
import { Redis } from 'ioredis';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { commandCounts } from '../report/commands.js';
import { cpuTimeOf } from '../report/cpu.js';
import { sum } from '../report/statistics.js';
import type { Cell, Table } from '../report/table.js';
import { startLocks } from '../subjects/replica-lock.js';
import type { Server } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * What does each microsecond of a lock go into? The callers of distinct-keys, in a process that the
 * profiler of V8 watches, beside a master that counts its commands.
 */

const CALLERS = [1, 16, 128, 1024];
/** ms of load before the profile, so that the code is compiled. */
const WARM_UP = 3_000;
/** ms */
const TIME = 4_000;
/** us between two samples of the profile. */
const SAMPLING = 100;

interface Params {
  readonly server: Server;
  readonly callers: number;
  readonly warmUp: number;
  readonly time: number;
}

interface ClientFigures {
  readonly locks: number;
  /** us of CPU for each place, in the main thread. */
  readonly places: Readonly<Record<string, number>>;
  /** us of CPU of all threads. */
  readonly cpu: number;
}

interface Figures extends ClientFigures {
  readonly callers: number;
  /** us of CPU for each part of the master's work. */
  readonly masterParts: Readonly<Record<string, number>>;
  readonly masterCpu: number;
  readonly replicasCpu: number;
}

export async function part(
  { server, callers, warmUp, time }: Params,
  parent: Channel,
): Promise<ClientFigures> {
  const { locks, app } = await startLocks(server);
  let count = 0;
  const drive = async (ms: number): Promise<void> => {
    const end = performance.now() + ms;
    await Promise.all(
      Array.from({ length: callers }, async () => {
        while (performance.now() < end) {
          const lock = await locks.acquire(`bench:${++count}`);
          await lock.release();
        }
      }),
    );
  };
  await drive(warmUp);
  await parent.ask('warm');
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: SAMPLING });
  await session.post('Profiler.start');
  const before = count;
  const cpuBefore = process.cpuUsage();
  await drive(time);
  const { user, system } = process.cpuUsage(cpuBefore);
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  await app.close();
  return { locks: count - before, places: placesOf(profile), cpu: user + system };
}

/** The time of each place, without the time in which the process waited. */
function placesOf({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Record<string, number> {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]));
  const places: Record<string, number> = {};
  samples.forEach((id, i) => {
    const name = names.get(id);
    if (name !== undefined) places[name] = (places[name] ?? 0) + (timeDeltas[i] ?? 0);
  });
  return places;
}

/** Rooms of the library by their folders, most special first. */
const ROOMS = [
  ['dist/lock/', 'acquisition, queues, held locks'],
  ['dist/store/redis/connection/', 'Redis protocol: encoding, reading'],
  ['dist/store/redis/replication/', 'who confirmed: INFO, CLIENT LIST'],
  ['dist/store/redis/commit/', 'groups and releases'],
  ['dist/store/', 'groups and releases'],
  ['dist/common/', 'clocks, timers, sets'],
] as const;

function placeOf({ functionName, url }: Profiler.Profile['nodes'][number]['callFrame']): string | undefined {
  if (functionName === '(idle)' || functionName === '(root)') return undefined;
  if (functionName === '(garbage collector)') return 'garbage collection, main thread';
  if (/^write(?:Utf8String|Latin1String|Buffer|v)$/.test(functionName))
    return 'writing to sockets (system calls)';
  if (functionName === 'now') return 'clocks, timers, sets';
  const room = ROOMS.find(([folder]) => url.includes(folder));
  if (room !== undefined) return room[1];
  return url.includes('/bench/') ? 'the caller' : 'Node: streams, timers, promises';
}

/** us of CPU of the master by command. A script's time includes that of its commands. */
async function masterPartsOf({ servers }: Bench): Promise<Record<string, number>> {
  const counts = await commandCounts(servers.master);
  const of = (...names: string[]): number => sum(names.map((name) => counts[name]?.usec ?? 0));
  const inScripts = of('set', 'get', 'mget', 'time', 'pttl', 'pexpire');
  return {
    'SET in scripts: lock and token': of('set'),
    'reads and TIME in scripts': inScripts - of('set'),
    'scripts, beside their commands': of('evalsha', 'eval') - inScripts,
    'INFO, CLIENT LIST, WAIT: who confirmed': of('info', 'client|list', 'wait'),
  };
}

async function figuresOf(bench: Bench, callers: number): Promise<Figures> {
  const { master, replicas } = bench.servers;
  const { server } = bench;
  const [ofMaster, ...ofReplicas] = [master, ...replicas].map(({ port }) => new Redis({ ...server, port }));
  await master.call('FLUSHALL');
  const [warmUp, time] = bench.smoke ? [20, 50] : [WARM_UP, TIME];
  const process = Part.start(import.meta.url, { server, callers, warmUp, time } satisfies Params);
  try {
    await process.channel.next();
    await master.call('CONFIG', 'RESETSTAT');
    const masterBefore = await cpuTimeOf([ofMaster!]);
    const replicasBefore = await cpuTimeOf(ofReplicas);
    const { result, failure } = await process.channel.ask<{ result: ClientFigures; failure?: string }>('go');
    if (failure !== undefined) throw new Error(failure);
    const masterCpu = (await cpuTimeOf([ofMaster!])) - masterBefore;
    const replicasCpu = (await cpuTimeOf(ofReplicas)) - replicasBefore;
    return { ...result, callers, masterParts: await masterPartsOf(bench), masterCpu, replicasCpu };
  } finally {
    await process.end();
    for (const client of [ofMaster!, ...ofReplicas]) client.disconnect();
  }
}

/** A row for each name: the figure of each number of callers, in us for a lock. */
function tableOf(
  title: string,
  note: string,
  all: readonly Figures[],
  partsOf: (figures: Figures) => Readonly<Record<string, number>>,
  totals: Readonly<Record<string, (figures: Figures) => number>>,
): Table {
  const row = (name: string, timeOf: (figures: Figures) => number): Cell[] => [
    name,
    ...all.map((figures) => timeOf(figures) / figures.locks),
  ];
  const names = [...new Set(all.flatMap((figures) => Object.keys(partsOf(figures))))];
  return {
    title,
    note,
    columns: [
      'us of CPU for a lock',
      ...all.map(({ callers }) => `${callers.toLocaleString('en-US')} at once`),
    ],
    rows: [
      ...names
        .map((name) => row(name, (figures) => partsOf(figures)[name] ?? 0))
        .toSorted((a, b) => Number(b.at(-1)) - Number(a.at(-1))),
      ...Object.entries(totals).map(([name, timeOf]) => row(name, timeOf)),
    ],
  };
}

const inMainThread = ({ places }: Figures): number => sum(Object.values(places));
const inCommands = ({ masterParts }: Figures): number => sum(Object.values(masterParts));

export const microseconds: Workload = {
  name: 'microseconds',
  async run(bench): Promise<Report> {
    const all: Figures[] = [];
    for (const callers of CALLERS) {
      const figures = await figuresOf(bench, callers);
      all.push(figures);
      bench.log(`${callers} at once: ${figures.locks} locks`);
    }
    return {
      tables: [
        tableOf(
          'This process',
          'Samples of the profiler by the place of the running function. The profiler itself slows the process. Other threads compile and collect garbage. With 1,024 callers the cores are full: a function that waits for its core counts as running, so the figures add up to more than the CPU that was used.',
          all,
          ({ places }) => places,
          {
            'other threads': (figures) => figures.cpu - inMainThread(figures),
            'all threads': ({ cpu }) => cpu,
          },
        ),
        tableOf(
          'The servers',
          'The commands by INFO commandstats, the rest by INFO cpu. The rest of the master is reading, writing, the stream to the replicas, the expiry of tombstones, and waking up.',
          all,
          ({ masterParts }) => masterParts,
          {
            'the rest of the master': (figures) => figures.masterCpu - inCommands(figures),
            'all of the master': ({ masterCpu }) => masterCpu,
            'both replicas together': ({ replicasCpu }) => replicasCpu,
          },
        ),
      ],
    };
  },
};
