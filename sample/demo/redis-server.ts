import { type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import type { ServerState } from './model.js';
import { freePort, type Processes } from './processes.js';

const program = process.env['REDIS_SERVER'] ?? 'redis-server';

/** A Redis server or a Sentinel that this process starts, stops and kills. */
export class RedisServer {
  /** The name of the process's condition; `cut-off` is set by who breaks the link. */
  condition: ServerState['condition'] = 'dead';
  /** Not queued and given up after 2 s, so that a stopped server delays nothing. */
  readonly client: Redis;
  private child: ChildProcess | undefined;

  private constructor(
    readonly name: string,
    readonly port: number,
    private readonly processes: Processes,
  ) {
    this.client = new Redis({
      host: '127.0.0.1',
      port,
      retryStrategy: () => 100,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      commandTimeout: 2_000,
      lazyConnect: true,
    });
    this.client.on('error', () => {});
  }

  static async named(name: string, processes: Processes): Promise<RedisServer> {
    return new RedisServer(name, await freePort(), processes);
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Without persistence: what was not replicated is lost with the process. */
  startServer(master?: RedisServer): void {
    const own = ['--port', String(this.port), '--bind', '127.0.0.1', '--dbfilename', `${this.port}.rdb`];
    const follow = master === undefined ? [] : ['--replicaof', `127.0.0.1 ${master.port}`];
    this.start([...own, '--save', '', '--repl-diskless-sync-delay', '0', ...follow]);
  }

  startSentinel(settings: readonly string[]): void {
    const lines = [`port ${this.port}`, 'bind 127.0.0.1', ...settings, ''];
    this.start([this.processes.write(`${this.name}.conf`, lines.join('\n')), '--sentinel']);
  }

  /** SIGSTOP: the process does nothing, and its connections stay open. */
  stop(): void {
    this.child?.kill('SIGSTOP');
    this.condition = 'stopped';
  }

  /** SIGCONT. */
  continue(): void {
    this.child?.kill('SIGCONT');
    this.condition = 'running';
  }

  /** SIGKILL, which is `kill -9`. */
  async kill(): Promise<void> {
    this.condition = 'dead';
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  /** The fields of INFO replication. */
  async replication(): Promise<Readonly<Record<string, string>>> {
    const text = await this.client.info('replication');
    return Object.fromEntries(
      text.split('\r\n').flatMap((line) => {
        const colon = line.indexOf(':');
        return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)]];
      }),
    );
  }

  private start(args: readonly string[]): void {
    this.child = this.processes.start(program, args);
    this.condition = 'running';
    if (this.client.status === 'wait') this.client.connect().catch(() => {});
  }
}
