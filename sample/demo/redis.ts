import type { ChildProcess } from 'node:child_process';
import { Redis } from 'ioredis';
import { freePort, until, type Processes } from './processes.js';

export interface Servers {
  readonly masterPort: number;
  readonly replicas: readonly ChildProcess[];
}

/** Starts a Redis master with two replicas. Resolves when both replicas follow the master. */
export async function startRedis(processes: Processes): Promise<Servers> {
  const server = process.env['REDIS_SERVER'] ?? 'redis-server';
  const [masterPort, ...replicaPorts] = [await freePort(), await freePort(), await freePort()] as const;
  const start = (port: number, ...args: string[]): ChildProcess =>
    processes.start(server, [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--repl-diskless-sync-delay',
      '0',
      ...args,
    ]);
  start(masterPort);
  const replicas = replicaPorts.map((port) =>
    start(port, '--dbfilename', `${port}.rdb`, '--replicaof', `127.0.0.1 ${masterPort}`),
  );
  const client = new Redis({
    host: '127.0.0.1',
    port: masterPort,
    retryStrategy: () => 100,
    maxRetriesPerRequest: null,
  });
  client.on('error', () => {});
  await until('both replicas follow the master', async () => {
    await client.publish('demo', '');
    return (await client.wait(2, 500)) === 2;
  });
  client.disconnect();
  return { masterPort, replicas };
}
