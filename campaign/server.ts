import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Host } from './hosts.js';

const SERVER = process.env['REDIS_SERVER'] ?? 'redis-server';
const CLI = SERVER.replace(/redis-server$/, 'redis-cli');
const run = promisify(execFile);

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A child process that ends with this one and can be frozen. */
export class Program {
  private child: ChildProcess | undefined;
  isFrozen = false;

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
    child.once('exit', () => {
      running.delete(child);
      if (this.child === child) this.child = undefined;
    });
    let rest = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.onLine?.(line);
    });
  }

  /** SIGKILL: nothing is saved or said. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    this.isFrozen = false;
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

  /** One command by redis-cli on the server's own host; '' where it does not answer within `ms`. */
  async call(...args: (string | number)[]): Promise<string> {
    const [program = '', ...rest] = [
      ...this.host.prefix,
      CLI,
      '-h',
      this.host.ip,
      '-p',
      String(this.port),
      ...args.map(String),
    ];
    try {
      const { stdout } = await run(program, rest, { timeout: 1_500, killSignal: 'SIGKILL' });
      return stdout.trim();
    } catch {
      return '';
    }
  }

  /** The role that it says it has. */
  async info(): Promise<Map<string, string>> {
    const text = await this.call('info', 'replication');
    const fields = text.split('\n').map((line) => /^(\w+):(.*?)\r?$/.exec(line));
    return new Map(fields.flatMap((match) => (match === null ? [] : [[match[1]!, match[2]!]])));
  }

  removeFolder(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
