import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { rawClient, type RawClientOptions } from './client.js';
import { until } from './eventually.js';
import { guardedFolder, guardProcess, unguardProcess } from './guard.js';
import { freePort } from './ports.js';

/**
 * Lines of redis.conf; a list repeats the directive. Values are not quoted: quote a value that
 * contains blanks.
 */
export type RedisConfig = Readonly<Record<string, Directive | readonly Directive[]>>;
type Directive = string | number;

export type RedisMode = 'standalone' | 'cluster' | 'sentinel';

const START_TIMEOUT = 10_000;
const PING_TIMEOUT = 1_000;
const BIND_ATTEMPTS = 5;

/** The server that scripts/run.mjs found or fetched. */
const SERVER = process.env['REDIS_SERVER'] ?? 'redis-server';

/**
 * Starts a real redis-server on a free port of 127.0.0.1, without persistence. Resolves when the
 * server answers.
 */
export function startRedis(config: RedisConfig = {}, mode: RedisMode = 'standalone'): Promise<RedisProcess> {
  return RedisProcess.start(config, mode);
}

/** One redis-server (or Sentinel, the same program), and the faults that a test can inject. */
export class RedisProcess {
  /** `dead`: no process. `stopped`: SIGSTOP; the server keeps its sockets and answers nothing. */
  #state: 'running' | 'stopped' | 'dead' = 'dead';
  #child: ChildProcess | undefined;
  readonly #clients = new Set<Redis>();
  /** Called before `stop` and `kill`, while the server still answers. */
  beforeOutage: () => Promise<void> = async () => {};

  static async start(config: RedisConfig, mode: RedisMode): Promise<RedisProcess> {
    for (let attempt = 1; ; attempt += 1) {
      const server = new RedisProcess(await freePort({ bus: mode === 'cluster' }), config, mode);
      try {
        await server.#launch();
        return server;
      } catch (error) {
        await server.dispose();
        if (attempt >= BIND_ATTEMPTS || !/address already in use/i.test(String(error))) throw error;
      }
    }
  }

  private constructor(
    readonly port: number,
    config: RedisConfig,
    private readonly mode: RedisMode,
    readonly folder = guardedFolder(`${mode}-${port}`),
  ) {
    writeFileSync(this.#configFile, textOf({ ...defaultsOf(mode), ...config, port, dir: folder }));
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get url(): string {
    return `redis://${this.address}`;
  }

  /** Neither dead nor stopped. */
  get isRunning(): boolean {
    return this.#state === 'running';
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`The server at ${this.address} is not running`);
    return pid;
  }

  /** The server's log, for failures and tests. */
  get log(): string {
    return existsSync(this.#logFile) ? readFileSync(this.#logFile, 'utf8') : '';
  }

  /** A new connection to this server. `dispose` of the server ends the connection at the latest. */
  client(options: RawClientOptions = {}): Redis {
    const client = rawClient(this.port, options);
    this.#clients.add(client);
    client.once('end', () => this.#clients.delete(client));
    return client;
  }

  /** Sends one command on a new connection. */
  async call(command: string, ...args: (string | number)[]): Promise<unknown> {
    const client = this.client();
    try {
      return await client.call(command, ...args);
    } finally {
      client.disconnect();
    }
  }

  /** One section of INFO, by field. */
  async info(section: string): Promise<Record<string, string>> {
    const text = String(await this.call('INFO', section));
    const lines = text.split('\r\n').filter((line) => line.includes(':'));
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
    ) as Record<string, string>;
  }

  /** SIGSTOP: the server hangs, the sockets stay open. Resolves when the server no longer runs. */
  async stop(): Promise<void> {
    if (this.#state !== 'running') throw new Error(`The server at ${this.address} is ${this.#state}`);
    await this.beforeOutage();
    process.kill(this.pid, 'SIGSTOP');
    this.#state = 'stopped';
    await this.#untilFrozen();
  }

  /** SIGCONT: the server runs on as if nothing had happened. */
  resume(): void {
    if (this.#state !== 'stopped') throw new Error(`The server at ${this.address} is ${this.#state}`);
    process.kill(this.pid, 'SIGCONT');
    this.#state = 'running';
  }

  /**
   * SIGKILL, also for a stopped server: the process is gone, the sockets are closed, nothing was
   * saved.
   */
  async kill(): Promise<void> {
    if (this.#state === 'running') await this.beforeOutage();
    await this.#end();
  }

  async #end(): Promise<void> {
    const child = this.#child;
    if (!child || this.#state === 'dead') return;
    child.ref();
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    this.#state = 'dead';
  }

  /**
   * Kills the server and starts it again on the same port. `empty` (default): without data. `kept`:
   * with the data that was saved on disk (`SAVE`, appendonly). Resolves when the server answers.
   */
  async restart({ data = 'empty' }: { data?: 'empty' | 'kept' } = {}): Promise<void> {
    await this.kill();
    if (data === 'empty') {
      for (const name of ['dump.rdb', 'appendonlydir', 'appendonly.aof']) {
        rmSync(join(this.folder, name), { recursive: true, force: true });
      }
    }
    await this.#launch();
  }

  /** Makes the server run again: resumes a stopped server, and starts a killed server empty. */
  async revive(): Promise<void> {
    if (this.#state === 'stopped') this.resume();
    else if (this.#state === 'dead') await this.restart();
  }

  /** Ends the server and all clients, and removes the server's folder. Idempotent. */
  async dispose(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    await this.#end();
    rmSync(this.folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  get #configFile(): string {
    return join(this.folder, 'redis.conf');
  }

  get #logFile(): string {
    return join(this.folder, 'redis.log');
  }

  async #launch(): Promise<void> {
    const args = this.mode === 'sentinel' ? [this.#configFile, '--sentinel'] : [this.#configFile];
    const log = openSync(this.#logFile, 'a');
    const child = spawn(SERVER, args, { stdio: ['ignore', log, log], cwd: this.folder });
    closeSync(log);
    this.#child = child;
    child.unref();
    const failure: { message?: string } = {};
    child.once('error', (error) => {
      failure.message = error.message;
    });
    child.once('exit', (code, signal) => {
      failure.message ??= `it exited (${code ?? signal})`;
      if (child.pid !== undefined) unguardProcess(child.pid);
      if (this.#child === child) this.#state = 'dead';
    });
    if (child.pid !== undefined) {
      this.#state = 'running';
      guardProcess(child.pid);
    }
    await until(async () => failure.message !== undefined || (await answersPing(this.port)), {
      within: START_TIMEOUT,
      what: `${SERVER} on port ${this.port} answers PING`,
    });
    if (failure.message !== undefined) {
      const lines = this.log.trimEnd().split('\n').slice(-8).join('\n');
      throw new Error(`${SERVER} on port ${this.port} did not start: ${failure.message}\n${lines}`);
    }
  }

  async #untilFrozen(): Promise<void> {
    const stat = `/proc/${this.pid}/stat`;
    if (!existsSync(stat)) return sleep(20); // Not Linux: the signal takes effect within that.
    await until(() => /^\d+ \(.*\) T/.test(readFileSync(stat, 'utf8')), {
      what: `process ${this.pid} is stopped`,
    });
  }
}

function defaultsOf(mode: RedisMode): RedisConfig {
  const every: RedisConfig = { bind: '127.0.0.1', 'protected-mode': 'no' };
  if (mode === 'sentinel') return every;
  return {
    ...every,
    save: '""',
    appendonly: 'no',
    // By default a master waits 5 s for further replicas before the first full sync.
    'repl-diskless-sync': 'yes',
    'repl-diskless-sync-delay': 0,
    ...(majorVersion() >= 7 ? { 'enable-debug-command': 'yes' } : {}),
  };
}

function textOf(config: RedisConfig): string {
  return Object.entries(config)
    .flatMap(([directive, values]) => [values].flat().map((value) => `${directive} ${value}\n`))
    .join('');
}

let major: number | undefined;

/**
 * The version of the server under test. Older versions get a configuration without newer
 * directives.
 */
export function majorVersion(): number {
  major ??= Number(/v=(\d+)\./.exec(execFileSync(SERVER, ['--version'], { encoding: 'utf8' }))?.[1] ?? 0);
  return major;
}

/** Accepts any answer, such as a request for a password, except LOADING. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answers: boolean): void => {
      socket.destroy();
      resolve(answers);
    };
    // Another program may listen there and never answer.
    socket.setTimeout(PING_TIMEOUT, () => end(false));
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (reply) => end(!reply.toString().startsWith('-LOADING')));
    socket.once('error', () => end(false));
    socket.once('close', () => end(false));
  });
}
