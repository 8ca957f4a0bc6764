import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Host } from './hosts.js';

const SERVER = process.env['REDIS_SERVER'] ?? 'redis-server';
/** ms that a server has to answer the campaign. */
const ANSWER_TIME = 1_500;

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A child process that ends with this process and can be frozen. */
export class Program {
  private child: ChildProcess | undefined;
  isFrozen = false;
  /** How the program ended, each time that the campaign had not ended it. */
  readonly deaths: string[] = [];

  constructor(
    readonly host: Host,
    private readonly command: readonly string[],
    private readonly onLine?: (line: string) => void,
  ) {}

  get isRunning(): boolean {
    return this.child !== undefined;
  }

  start(): void {
    const [program = '', ...args] = [...this.host.prefix, ...this.command];
    const child = spawn(program, args, { stdio: ['ignore', this.onLine ? 'pipe' : 'ignore', 'inherit'] });
    this.child = child;
    running.add(child);
    child.once('exit', (code, signal) => {
      running.delete(child);
      if (this.child !== child) return;
      this.child = undefined;
      this.isFrozen = false;
      this.deaths.push(`${this.host.name} ended by itself: ${signal ?? code}`);
    });
    let rest = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.onLine?.(line);
    });
  }

  /** SIGKILL: nothing is saved, and no client is told. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    this.child = undefined;
    this.isFrozen = false;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  signal(name: NodeJS.Signals): void {
    this.child?.kill(name);
  }

  freeze(): void {
    this.isFrozen = this.child?.kill('SIGSTOP') ?? false;
  }

  thaw(): void {
    this.child?.kill('SIGCONT');
    this.isFrozen = false;
  }
}

/** One redis-server or Sentinel on a host of its own. */
export class Server extends Program {
  readonly folder: string;

  private constructor(
    host: Host,
    readonly port: number,
    folder: string,
    args: readonly string[],
  ) {
    super(host, [SERVER, join(folder, 'redis.conf'), ...args]);
    this.folder = folder;
  }

  static data(host: Host, config: Record<string, string | number>): Server {
    return Server.make(host, 6379, [], {
      bind: host.ip,
      'protected-mode': 'no',
      save: '""',
      'repl-diskless-sync-delay': 0,
      'repl-timeout': 4,
      'repl-ping-replica-period': 1,
      'replica-announce-ip': host.ip,
      ...config,
    });
  }

  static sentinel(host: Host, master: Host, downAfter: number): Server {
    return Server.make(host, 26379, ['--sentinel'], {
      bind: host.ip,
      'protected-mode': 'no',
      'sentinel announce-ip': host.ip,
      'sentinel monitor': `mymaster ${master.ip} 6379 2`,
      'sentinel down-after-milliseconds': `mymaster ${downAfter}`,
      'sentinel failover-timeout': 'mymaster 6000',
      'sentinel parallel-syncs': 'mymaster 2',
    });
  }

  private static make(
    host: Host,
    port: number,
    args: string[],
    config: Record<string, string | number>,
  ): Server {
    const folder = mkdtempSync(join(tmpdir(), 'replica-lock-campaign-'));
    const text = Object.entries({ port, dir: folder, ...config }).map(
      ([name, value]) => `${name} ${value}\n`,
    );
    writeFileSync(join(folder, 'redis.conf'), text.join(''));
    return new Server(host, port, folder, args);
  }

  get address(): string {
    return `${this.host.ip}:${this.port}`;
  }

  /**
   * Sends one command on a new connection. Resolves to the reply as text, with one line per
   * element; '' if no reply came in time.
   */
  async call(command: string, ...args: (string | number)[]): Promise<string> {
    const client = new Redis({
      host: this.host.ip,
      port: this.port,
      protocol: 2,
      lazyConnect: true,
      enableReadyCheck: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    client.on('error', () => {});
    const clock = new AbortController();
    try {
      const answer = client.connect().then(() => client.call(command, ...args));
      const timeUp = sleep(ANSWER_TIME, '', { signal: clock.signal });
      return textOf(await Promise.race([answer.catch(refusalOf), timeUp]));
    } finally {
      clock.abort();
      client.disconnect();
    }
  }

  /** The role that the server reports. */
  async info(): Promise<Map<string, string>> {
    const text = await this.call('info', 'replication');
    const fields = text.split('\n').map((line) => /^(\w+):(.*?)\r?$/.exec(line));
    return new Map(fields.flatMap((match) => (match === null ? [] : [[match[1]!, match[2]!]])));
  }

  removeFolder(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A refusal by the server is an answer; a lost connection is not. */
function refusalOf(error: Error): string {
  return error.name === 'ReplyError' ? error.message : '';
}

function textOf(answer: unknown): string {
  const text = Array.isArray(answer) ? answer.map(textOf).join('\n') : String(answer ?? '');
  return text.trim();
}
