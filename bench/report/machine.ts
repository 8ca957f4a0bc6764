import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg, totalmem, type } from 'node:os';
import { join } from 'node:path';

/** The machine and versions that the figures were measured on. Has no host names. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly redis: string;
  readonly ioredis: string;
  /** The machine's load average over the last minute before the run. */
  readonly loadBefore: number;
  readonly date: string;
}

export function describeMachine(): Machine {
  const server = process.env['REDIS_SERVER'] ?? 'redis-server';
  const redis = /v=(\S+)/.exec(execFileSync(server, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown';
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: type(),
    node: process.version,
    redis,
    ioredis: versionOf('package.json', 'ioredis'),
    loadBefore: loadavg()[0] ?? 0,
    date: new Date().toISOString().slice(0, 10),
  };
}

export function machineText(machine: Machine): string {
  return [
    `${machine.cores} cores (${machine.cpu}), shared by master, two replicas, the benchmark and its processes, ${machine.memoryGiB} GiB, ${machine.system}.`,
    `Node ${machine.node}, redis-server ${machine.redis}, ioredis ${machine.ioredis}, everything on loopback.`,
    `Load before the run ${machine.loadBefore.toFixed(1)}. ${machine.date}.`,
  ].join(' ');
}

function versionOf(from: string, name: string): string {
  const path = createRequire(join(process.cwd(), from)).resolve(`${name}/package.json`);
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
