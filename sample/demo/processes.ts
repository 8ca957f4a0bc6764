import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Guard } from './guard.js';

/** All processes that the demonstration starts. They end with the demonstration in every case. */
export class Processes {
  private readonly children = new Set<ChildProcess>();
  private readonly folder = mkdtempSync(join(tmpdir(), 'replica-lock-demo-'));
  private readonly guard = new Guard(this.folder);
  /** True from the first call of `exit` on. */
  isEnding = false;

  constructor() {
    process.once('exit', () => this.endNow());
  }

  /** Writes a file into the folder in which the programs run, and which goes when they end. */
  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** Starts a program and passes its lines to `onLine`. */
  start(
    command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    onLine: (line: string) => void = () => {},
  ): ChildProcess {
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: this.folder,
      detached: true,
    });
    this.children.add(child);
    const { pid } = child;
    if (pid !== undefined) this.guard.watch(pid);
    child.once('exit', () => {
      this.children.delete(child);
      if (pid !== undefined) this.guard.forget(pid);
    });
    child.once('error', (error) => {
      // The program was never started, so there is no exit to wait for.
      if (pid === undefined) this.children.delete(child);
      onLine(String(error));
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream
        .setEncoding('utf8')
        .on('data', (text: string) => text.split('\n').filter(Boolean).forEach(onLine));
    }
    return child;
  }

  /** Sends SIGTERM to all, and after 5 s SIGKILL to those that still run. */
  async end(): Promise<void> {
    const all = [...this.children];
    const gone = Promise.all(all.map((child) => once(child, 'exit')));
    for (const child of all) {
      child.kill('SIGCONT');
      child.kill('SIGTERM');
    }
    const timeUp = setTimeout(() => all.forEach((child) => child.kill('SIGKILL')), 5_000);
    await gone;
    clearTimeout(timeUp);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Ends all programs, then this process. A second call kills the programs and exits at once. */
  async exit(code: number): Promise<never> {
    if (!this.isEnding) {
      this.isEnding = true;
      await this.end();
    }
    process.exit(code);
  }

  /** Exits with this code at a signal. A closed terminal does not end the process. */
  exitOnSignals(code: number, onSignal: () => void = () => {}): void {
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        onSignal();
        void this.exit(code);
      });
  }

  private endNow(): void {
    for (const child of this.children) child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const given = new Set<number>();

/**
 * A free port of 127.0.0.1, below those that systems give to outgoing connections: a server that
 * was killed finds its port free again.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = 10_500 + Math.floor(Math.random() * 11_500);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error('No free port found between 10500 and 22000');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** Checks every 50 ms until the condition holds. Rejects after `within` ms with `what`. */
export async function until(
  what: string,
  condition: () => Promise<boolean> | boolean,
  within = 20_000,
): Promise<void> {
  const deadline = performance.now() + within;
  while (!(await Promise.resolve(condition()).catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`Not true after ${within / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
