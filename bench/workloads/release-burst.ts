import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Part } from '../processes/part.js';
import { numberIn } from '../report/cpu.js';
import { median, sum } from '../report/statistics.js';
import type { Table } from '../report/table.js';
import { COMMITTING_IN_GROUPS, subjectNamed } from '../subjects/index.js';
import type { Locker, Server } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * One process holds many locks and releases all of them in one turn of the event loop. For how long
 * is the event loop blocked, and when has Redis answered every release?
 */

const CONCURRENT_ACQUISITIONS = 512;
const WARM_UP = 2_000;
/** ms after which the releases that have no answer are given up. */
const PATIENCE = 60_000;
/** ms: a client that gave up its connection has opened another by then. */
const RECONNECT_TIME = 1_000;
/** ms: the longest block that a release burst may cause. */
const LONG_BLOCK = 20;

interface Params {
  readonly subject: string;
  readonly server: Server;
  readonly locks: number;
}

interface Figures {
  /** ms of the loop that calls all releases: a block in any case, and in the caller's own hands. */
  readonly calls: number;
  /** ms: the longest block behind the calls. */
  readonly longestBlock: number;
  readonly longBlocks: number;
  /** ms from the first call to the last answer. */
  readonly answered: number;
  readonly unanswered: number;
  /** Releases that were rejected, or found the key in other hands. */
  readonly failures: number;
  /** Connections that the master accepted during the burst and `RECONNECT_TIME`. */
  readonly newConnections: number;
}

export async function part({ subject, server, locks }: Params): Promise<Figures> {
  const locker = await subjectNamed(subject).connect(server);
  const control = new Redis(server);
  const warm = await acquireAll(locker, 'bench:warm:', Math.min(WARM_UP, locks));
  await Promise.all(warm.map((release) => release()));
  const releases = await acquireAll(locker, 'bench:burst:', locks);
  const connectionsBefore = numberIn(await control.info('stats'), 'total_connections_received');

  let failures = 0;
  let settled = 0;
  const blocks = new Blocks();
  await nextTurn();
  const start = performance.now();
  const all = releases.map((release) =>
    release()
      .then(
        (answer) => (answer === false || answer === 0 ? failures++ : 0),
        () => failures++,
      )
      .then(() => settled++),
  );
  const calls = performance.now() - start;
  blocks.watch();
  await Promise.race([Promise.all(all), sleep(PATIENCE)]);
  const answered = performance.now() - start;
  const unanswered = locks - settled;
  await nextTurn();
  blocks.end();
  await sleep(RECONNECT_TIME);
  const connections = numberIn(await control.info('stats'), 'total_connections_received');
  return {
    calls,
    longestBlock: blocks.longest,
    longBlocks: blocks.long,
    answered,
    unanswered,
    failures,
    newConnections: connections - connectionsBefore,
  };
}

async function acquireAll(locker: Locker, prefix: string, many: number): Promise<(() => Promise<unknown>)[]> {
  const acquire = locker.acquire?.bind(locker);
  if (acquire === undefined) throw new Error('The subject has no separate release');
  const releases: (() => Promise<unknown>)[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(CONCURRENT_ACQUISITIONS, many) }, async () => {
      while (next < many) releases.push(await acquire(`${prefix}${next++}`));
    }),
  );
  return releases;
}

/**
 * The gaps between the turns of the event loop. Each turn runs an immediate, so no block goes
 * unnoticed between two samples of a timer, and a gap is the time of all that ran in a turn.
 */
class Blocks {
  longest = 0;
  long = 0;
  private last = 0;
  private next: NodeJS.Immediate | undefined;

  watch(): void {
    this.last = performance.now();
    this.next = setImmediate(this.onTurn);
  }

  end(): void {
    clearImmediate(this.next);
  }

  private readonly onTurn = (): void => {
    const gap = performance.now() - this.last;
    this.longest = Math.max(this.longest, gap);
    if (gap > LONG_BLOCK) this.long++;
    this.watch();
  };
}

export const releaseBurst: Workload = {
  name: 'release-burst',
  async run(bench): Promise<Report> {
    const subjects = bench.subjects.filter(({ name }) => COMMITTING_IN_GROUPS.includes(name));
    const counts = bench.smoke ? [200] : [10_000, 100_000];
    const results = new Map(counts.map((locks) => [locks, new Map<string, Figures[]>()]));
    for (let round = 1; round <= bench.rounds; round++) {
      for (const [locks, own] of results) {
        for (const { name } of bench.shuffled(subjects)) {
          await bench.servers.master.call('FLUSHALL');
          const params: Params = { subject: name, server: bench.server, locks };
          const figures = await Part.run<Figures>(import.meta.url, params);
          own.set(name, [...(own.get(name) ?? []), figures]);
        }
      }
      bench.log(`round ${round} of ${bench.rounds}`);
    }
    return { tables: [...results].map(([locks, own]) => tableOf(bench, locks, own)) };
  },
};

function tableOf(bench: Bench, locks: number, results: ReadonlyMap<string, readonly Figures[]>): Table {
  return {
    title: `${locks.toLocaleString('en-US')} locks released in one turn`,
    note: `Times are medians of ${bench.rounds} rounds, counts are sums. Calls is the caller's own loop over all locks, which blocks the event loop in any case. Blocks are the turns of the event loop after it, from one immediate to the next; the longest of all rounds is the highest. The process shares its cores with the servers, so a block can be theirs. Answered is the time from the first call to the last answer.`,
    columns: [
      'subject',
      'calls ms',
      'longest block ms',
      'highest ms',
      `blocks over ${LONG_BLOCK} ms`,
      'answered ms',
      'unanswered',
      'failed',
      'new connections',
    ],
    rows: [...results].map(([name, rounds]) => {
      const of = (figure: keyof Figures): number => median(rounds.map((each) => each[figure]));
      const total = (figure: keyof Figures): number => sum(rounds.map((each) => each[figure]));
      return [
        name,
        of('calls'),
        of('longestBlock'),
        Math.max(...rounds.map(({ longestBlock }) => longestBlock)),
        total('longBlocks'),
        of('answered'),
        total('unanswered'),
        total('failures'),
        total('newConnections'),
      ];
    }),
  };
}
