import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Channel } from '../processes/channel.js';
import { Part } from '../processes/part.js';
import { cpuTimeOf } from '../report/cpu.js';
import type { Plot } from '../report/plot.js';
import { median, percentile, quartilesOf, sum } from '../report/statistics.js';
import type { Table } from '../report/table.js';
import { GROUP_COMMIT } from '../subjects/floors.js';
import { subjectNamed } from '../subjects/index.js';
import { BARE_SOCKET, BARE_SOCKET_ASKING } from '../subjects/socket-floors.js';
import type { Locker, Server, Subject } from '../subjects/subject.js';
import type { Bench, Report, Workload } from './workload.js';

/*
 * Each caller acquires and releases one lock after the other, every lock on a new key, so no caller
 * waits for another. What does a lock cost, and how many can one process take?
 *
 * In each round every subject has a process. The processes take short turns in random order, so that
 * the subjects share the good and the bad times of the machine. A ratio compares turns of the same
 * series, which are seconds apart.
 */

const CALLERS = [1, 16, 128, 1024];
/** Series of turns in each round, for each number of callers. */
const SERIES = 4;
/** ms of load before the first turn with a number of callers, so that the code is compiled. */
const WARM_UP = 2_000;
/** ms of load before each turn: the process was idle while the others had their turns. */
const RUN_UP = 200;
/** ms */
const TURN = 500;

interface Params {
  readonly subject: string;
  readonly server: Server;
  readonly replicas: readonly Server[];
}

/** The load of `runUp` ms is not measured. */
interface Order {
  readonly callers: number;
  readonly runUp: number;
  readonly time: number;
}

interface Figures {
  /** Locks acquired and released in a second. */
  readonly perSecond: number;
  /** ms for one lock, from the request to the end of its release. */
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
  /** us of CPU for a lock: in this process, in the master, and in all replicas together. */
  readonly cpu: number;
  readonly masterCpu: number;
  readonly replicaCpu: number;
}

interface Turn extends Figures {
  readonly callers: number;
  readonly round: number;
  /** Counts the series of all rounds. Turns of one series are compared with each other. */
  readonly series: number;
}

/** The turns of each subject, by its name. */
type Turns = Map<string, Turn[]>;

export async function part({ subject, server, replicas }: Params, parent: Channel): Promise<void> {
  const locker = await subjectNamed(subject).connect(server);
  const master = new Redis(server);
  const others = replicas.map((replica) => new Redis(replica));
  parent.send('ready');
  for (;;) {
    const { callers, runUp, time } = await parent.next<Order>();
    await drive(locker, callers, runUp);
    const masterBefore = await cpuTimeOf([master]);
    const replicasBefore = await cpuTimeOf(others);
    const cpuBefore = process.cpuUsage();
    const { latencies, failures, passed } = await drive(locker, callers, time);
    const { user, system } = process.cpuUsage(cpuBefore);
    const locks = latencies.length;
    parent.send({
      perSecond: ((locks - failures) / passed) * 1000,
      p50: percentile(latencies, 0.5),
      p99: percentile(latencies, 0.99),
      failures,
      cpu: (user + system) / locks,
      masterCpu: ((await cpuTimeOf([master])) - masterBefore) / locks,
      replicaCpu: ((await cpuTimeOf(others)) - replicasBefore) / locks,
    } satisfies Figures);
    locker.rest?.();
  }
}

let count = 0;

async function drive(
  locker: Locker,
  callers: number,
  time: number,
): Promise<{ latencies: number[]; failures: number; passed: number }> {
  const latencies: number[] = [];
  let failures = 0;
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
  return { latencies, failures, passed: performance.now() - start };
}

/** A subject and its process in one round. */
class Player {
  private constructor(
    readonly name: string,
    private readonly process: Part,
  ) {}

  static async start(bench: Bench, { name }: Subject): Promise<Player> {
    const replicas = bench.servers.replicas.map(({ port }) => ({ host: bench.server.host, port }));
    const params: Params = { subject: name, server: bench.server, replicas };
    const player = new Player(name, Part.start(import.meta.url, params));
    try {
      await player.answer();
      return player;
    } catch (error) {
      await player.end();
      throw error;
    }
  }

  async play(order: Order): Promise<Figures> {
    this.process.channel.send(order);
    return this.answer<Figures>();
  }

  end(): Promise<void> {
    return this.process.end();
  }

  private async answer<T>(): Promise<T> {
    const answer = await this.process.channel.next<T | { readonly failure: string }>();
    if (typeof answer === 'object' && answer !== null && 'failure' in answer) throw new Error(answer.failure);
    return answer as T;
  }
}

class Round {
  private readonly players = new Map<string, Player>();

  constructor(
    private readonly bench: Bench,
    private readonly number: number,
    private readonly turns: Turns,
  ) {}

  async play(): Promise<void> {
    const { bench } = this;
    try {
      await this.each(async (subject) => {
        this.players.set(subject.name, await Player.start(bench, subject));
      });
      for (const callers of CALLERS) await this.playWith(callers);
    } finally {
      await Promise.all([...this.players.values()].map((player) => player.end()));
    }
  }

  private async playWith(callers: number): Promise<void> {
    const { smoke } = this.bench;
    const series = smoke ? 1 : SERIES;
    await this.turnOfEach({ callers, runUp: 0, time: smoke ? 20 : WARM_UP });
    for (let i = 0; i < series; i++) {
      const number = (this.number - 1) * series + i;
      const order = { callers, runUp: smoke ? 5 : RUN_UP, time: smoke ? 40 : TURN };
      await this.turnOfEach(order, ({ name }, figures) => {
        const turn: Turn = { ...figures, callers, round: this.number, series: number };
        this.turns.set(name, [...(this.turns.get(name) ?? []), turn]);
      });
    }
  }

  private async turnOfEach(
    order: Order,
    onFigures: (player: Player, figures: Figures) => void = () => {},
  ): Promise<void> {
    await this.each(async ({ name }) => {
      const player = this.players.get(name);
      if (player === undefined) return;
      await this.bench.servers.master.call('FLUSHALL');
      onFigures(player, await player.play(order));
    });
  }

  /** Calls `act` for every subject in random order. A subject that fails leaves the round. */
  private async each(act: (subject: Subject) => Promise<void>): Promise<void> {
    for (const subject of this.bench.shuffled(this.bench.subjects)) {
      try {
        await act(subject);
      } catch (error) {
        this.bench.log(`${subject.name} leaves round ${this.number}: ${String(error)}`);
        await this.players.get(subject.name)?.end();
        this.players.delete(subject.name);
      }
    }
  }
}

export const distinctKeys: Workload = {
  name: 'distinct-keys',
  async run(bench): Promise<Report> {
    const turns: Turns = new Map();
    for (let round = 1; round <= bench.rounds; round++) {
      await new Round(bench, round, turns).play();
      bench.log(`round ${round} of ${bench.rounds}`);
    }
    return {
      tables: CALLERS.flatMap((callers) => {
        const rows = rowsOf(bench, turns, callers);
        return [rateTable(bench, callers, rows), costTable(callers, rows)];
      }),
      plots: [plotOf(bench, turns)],
    };
  },
};

interface Row {
  readonly subject: Subject;
  readonly turns: readonly Turn[];
  /** The median of a figure over all turns. */
  readonly of: (figure: keyof Figures) => number;
  /** The figure divided by the same figure of `floor`, for each series that both took part in. */
  readonly ratios: (figure: keyof Figures, floor: string) => number[];
}

function turnsWith(turns: Turns, subject: string, callers: number): Turn[] {
  return turns.get(subject)?.filter((turn) => turn.callers === callers) ?? [];
}

/** The fastest subject first. */
function rowsOf(bench: Bench, turns: Turns, callers: number): Row[] {
  return bench.subjects
    .map((subject): Row => {
      const own = turnsWith(turns, subject.name, callers);
      return {
        subject,
        turns: own,
        of: (figure) => median(own.map((turn) => turn[figure])),
        ratios: (figure, floor) => {
          const others = new Map(turnsWith(turns, floor, callers).map((turn) => [turn.series, turn]));
          return own.flatMap((turn) => {
            const other = others.get(turn.series);
            return other === undefined ? [] : [turn[figure] / other[figure]];
          });
        },
      };
    })
    .filter((row) => row.turns.length > 0)
    .toSorted((a, b) => b.of('perSecond') - a.of('perSecond'));
}

function titleOf(callers: number): string {
  return `${callers.toLocaleString('en-US')} ${callers === 1 ? 'caller' : 'callers'}`;
}

function rateTable(bench: Bench, callers: number, rows: readonly Row[]): Table {
  const turns = bench.rounds * (bench.smoke ? 1 : SERIES);
  return {
    title: `Distinct keys, ${titleOf(callers)}: throughput`,
    note: `Locks acquired and released in a second: median and quartiles of ${turns} turns of ${TURN} ms. Ratios are medians and quartiles of the ratios within a series, in which every subject had one turn. The last column compares the last turn of each round with the first: 1 means that the warm-up was long enough.`,
    columns: [
      'subject',
      'confirmed',
      'locks/s',
      'quartiles',
      `/ ${GROUP_COMMIT}`,
      'quartiles',
      `/ ${BARE_SOCKET}`,
      'failed',
      'last / first',
    ],
    rows: rows.map((row) => {
      const overGroup = row.ratios('perSecond', GROUP_COMMIT);
      return [
        row.subject.name,
        row.subject.confirmed ? 'yes' : '',
        row.of('perSecond'),
        quartilesOf(row.turns.map(({ perSecond }) => perSecond)),
        median(overGroup),
        quartilesOf(overGroup),
        median(row.ratios('perSecond', BARE_SOCKET)),
        sum(row.turns.map(({ failures }) => failures)),
        lastOverFirst(row.turns),
      ];
    }),
  };
}

/** The rate of a round's last turn divided by that of its first: the median of the rounds. */
function lastOverFirst(turns: readonly Turn[]): number {
  const rounds = new Map<number, Turn[]>();
  for (const turn of turns) rounds.set(turn.round, [...(rounds.get(turn.round) ?? []), turn]);
  return median([...rounds.values()].map((all) => all.at(-1)!.perSecond / all[0]!.perSecond));
}

function costTable(callers: number, rows: readonly Row[]): Table {
  return {
    title: `Distinct keys, ${titleOf(callers)}: time and CPU of a lock`,
    note: `The time is from the request to the end of the release. Each figure is the median of the turns. Asking: the ${BARE_SOCKET_ASKING}. CPU is that of the subject's process, of the master, and of both replicas together, in microseconds for a lock.`,
    columns: [
      'subject',
      'p50 ms',
      'p99 ms',
      `p50 / ${GROUP_COMMIT}`,
      'p50 / asking',
      'CPU us',
      'master us',
      'replicas us',
      'CPU / asking',
    ],
    rows: rows.map((row) => [
      row.subject.name,
      row.of('p50'),
      row.of('p99'),
      median(row.ratios('p50', GROUP_COMMIT)),
      median(row.ratios('p50', BARE_SOCKET_ASKING)),
      row.of('cpu'),
      row.of('masterCpu'),
      row.of('replicaCpu'),
      median(row.ratios('cpu', BARE_SOCKET_ASKING)),
    ]),
  };
}

function plotOf(bench: Bench, turns: Turns): Plot {
  const names = bench.subjects.map(({ name }) => name).filter((name) => turns.has(name));
  const at = (name: string, callers: number): number =>
    median(turnsWith(turns, name, callers).map(({ perSecond }) => perSecond));
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
