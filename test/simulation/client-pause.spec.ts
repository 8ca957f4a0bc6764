import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { ErrorReply, type Command, type Reply } from '../../lib/store/redis/resp.js';
import { releaseScript } from '../../lib/store/redis/scripts/release.js';
import { UNBLOCKINGS, type Unblocking } from '../../simulation/client-pause.js';
import { CALM_LAG, CALM_SYNC } from '../../simulation/replication.js';
import { SimServer, type ServerSide } from '../../simulation/server.js';
import { Dice, SimWorld } from '../../simulation/world.js';
import { until } from '../support/eventually.js';
import { startRedis, type RedisProcess } from '../support/redis-process.js';
import { RespStream } from '../support/resp.js';

/** A server with two clients, A and B, real or simulated. */
interface Bench {
  send(client: Name, ...commands: Command[]): void;
  /**
   * The answers that A has received, by kind, once A has `count` of them and B's PING was answered
   * after that.
   */
  heard(count: number): Promise<string[]>;
  /** The client id of A. */
  readonly idOfA: number;
  pauseWrites(): Promise<void>;
  endPause(): Promise<void>;
}
type Name = 'A' | 'B';

const PING: Command = ['ping'];
const CALL = { keys: ['k'], owner: 'rl:a:1', cooldown: 0, tombstone: 1_000, token: 1 };
const SCRIPT = releaseScript.command(releaseScript.keysOf([CALL]), releaseScript.argsOf([CALL]), false);
/** No other command has this answer. */
const LAST: Command = ['get', 'nothing'];
const LAST_ANSWER = 'nil';

/** The events, and what A receives meanwhile and in the end. */
const CASES: readonly (readonly [what: string, run: (bench: Bench) => Promise<string[][]>])[] = [
  [
    'a script waits for the end of a pause of writes, and so do commands behind it',
    async (bench) => {
      await bench.pauseWrites();
      bench.send('A', PING, SCRIPT, PING);
      const meanwhile = await bench.heard(1);
      await bench.endPause();
      return [meanwhile, await end(bench)];
    },
  ],
  [
    'WAIT and reads go on during a pause of writes',
    async (bench) => {
      await bench.pauseWrites();
      bench.send('A', ['wait', 1, 100], ['client', 'list', 'type', 'replica'], PING);
      return [await end(bench)];
    },
  ],
  [
    'CLIENT UNBLOCK ERROR ends a WAIT in a pause of writes, but no script behind it',
    async (bench) => {
      bench.send('A', PING, ['wait', 1, 60_000], PING, SCRIPT);
      await bench.heard(1);
      await bench.pauseWrites();
      bench.send('B', ['client', 'unblock', bench.idOfA, 'ERROR']);
      const meanwhile = await bench.heard(3);
      await bench.endPause();
      return [meanwhile, await end(bench)];
    },
  ],
  [
    'CLIENT UNBLOCK ERROR does nothing to a client that is not blocked',
    async (bench) => {
      bench.send('A', PING);
      await bench.heard(1);
      bench.send('B', ['client', 'unblock', bench.idOfA, 'ERROR']);
      return [await end(bench)];
    },
  ],
  [
    'CLIENT UNBLOCK ERROR answers for a paused script',
    async (bench) => {
      await bench.pauseWrites();
      bench.send('A', PING, SCRIPT, PING);
      await bench.heard(1);
      bench.send('B', ['client', 'unblock', bench.idOfA, 'ERROR']);
      await bench.heard(1);
      await bench.endPause();
      return [await end(bench)];
    },
  ],
];

async function end(bench: Bench): Promise<string[]> {
  bench.send('A', LAST);
  let heard: string[];
  do heard = await bench.heard(1);
  while (heard.at(-1) !== LAST_ANSWER);
  return heard;
}

describe('A simulated server', () => {
  it.each(CASES)('pauses clients like a real one: %s', async (_, run) => {
    const simulated = await Promise.all(UNBLOCKINGS.map((unblocking) => run(new SimBench(unblocking))));
    const bench = await RealBench.start();
    try {
      // Servers differ in what CLIENT UNBLOCK does to a paused script.
      expect(simulated).toContainEqual(await run(bench));
    } finally {
      await bench.dispose();
    }
  });

  it('crashes, as many real servers do, on a CLIENT UNBLOCK without ERROR of a paused client', async () => {
    const bench = new SimBench('drops');
    await bench.pauseWrites();
    bench.send('A', PING, SCRIPT);
    await bench.heard(1);
    bench.send('B', ['client', 'unblock', bench.idOfA]);
    expect(bench.server.state).toBe('dead');
  });
});

class SimBench implements Bench {
  private readonly world = new SimWorld(new Dice(1));
  readonly server: SimServer;
  private readonly log: string[] = [];
  readonly idOfA = 1;

  constructor(unblocking: Unblocking) {
    const style = {
      lag: CALM_LAG,
      syncTime: CALM_SYNC,
      hasRdbChannel: false,
      unblocking,
      idleTimeout: Infinity,
    };
    this.server = new SimServer(this.world, 'redis', '10.0.0.1:6379', 0, () => true, style);
    this.server.connect(this.side(this.idOfA, (reply) => this.log.push(kindOf(reply))));
    this.server.connect(this.side(2, () => {}));
  }

  send(client: Name, ...commands: Command[]): void {
    this.server.receive(client === 'A' ? this.idOfA : 2, commands);
  }

  async heard(count: number): Promise<string[]> {
    while (this.log.length < count) await this.pass(10);
    return [...this.log];
  }

  async pauseWrites(): Promise<void> {
    this.server.pauseClients(60_000, 'WRITE');
    await this.pass(1);
  }

  endPause(): Promise<void> {
    return this.pass(61_000);
  }

  private side(id: number, reply: (value: Reply) => void): ServerSide {
    return { id, isSubscribed: false, reply, push: () => {}, end: () => {} };
  }

  private pass(ms: number): Promise<void> {
    return this.world.runUntil(this.world.now + ms, () => {});
  }
}

class RealBench implements Bench {
  private constructor(
    private readonly redis: RedisProcess,
    private readonly sockets: Record<Name, Socket>,
    private readonly logs: Record<Name, string[]>,
    readonly idOfA: number,
  ) {}

  static async start(): Promise<RealBench> {
    const redis = await startRedis();
    const logs: Record<Name, string[]> = { A: [], B: [] };
    const open = async (name: Name): Promise<Socket> => {
      const socket = connect({ host: '127.0.0.1', port: redis.port });
      const stream = new RespStream();
      socket.on('data', (chunk) => {
        for (const { value } of stream.push(chunk)) logs[name].push(kindOfText(value.toString()));
      });
      socket.on('error', () => {});
      await once(socket, 'connect');
      return socket;
    };
    const sockets = { A: await open('A'), B: await open('B') };
    write(sockets.A, ['client', 'id']);
    const id = await until(() => logs.A.shift(), { what: 'A knows its number' });
    return new RealBench(redis, sockets, logs, Number(id));
  }

  send(client: Name, ...commands: Command[]): void {
    write(this.sockets[client], ...commands);
  }

  async heard(count: number): Promise<string[]> {
    await until(() => this.logs.A.length >= count, { what: `A heard ${count} answers` });
    await this.ask(PING);
    return [...this.logs.A];
  }

  pauseWrites(): Promise<void> {
    return this.ask(['client', 'pause', 60_000, 'WRITE']);
  }

  endPause(): Promise<void> {
    return this.ask(['client', 'unpause']);
  }

  async dispose(): Promise<void> {
    for (const socket of Object.values(this.sockets)) socket.destroy();
    await this.redis.dispose();
  }

  private async ask(command: Command): Promise<void> {
    const { length } = this.logs.B;
    this.send('B', command);
    await until(() => this.logs.B.length > length, { what: `${command.join(' ')} is answered` });
  }
}

function write(socket: Socket, ...commands: Command[]): void {
  const texts = commands.map((command) => {
    const words = command.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
    return `*${words.length}\r\n${words.join('')}`;
  });
  socket.write(texts.join(''));
}

function kindOf(reply: Reply): string {
  if (reply instanceof ErrorReply) return `error ${reply.code}`;
  if (reply === null) return 'nil';
  return Array.isArray(reply)
    ? 'array'
    : reply === 'PONG'
      ? 'PONG'
      : typeof reply === 'string'
        ? 'text'
        : String(reply);
}

function kindOfText(text: string): string {
  if (text.startsWith('-')) return `error ${/^-(\w+)/.exec(text)?.[1]}`;
  if (text.startsWith('$-1')) return 'nil';
  return text.startsWith('*')
    ? 'array'
    : text.startsWith('+PONG')
      ? 'PONG'
      : text.startsWith('$')
        ? 'text'
        : text.slice(1).trim();
}
