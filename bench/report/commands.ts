import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RedisProcess } from '../../test/support/redis-process.js';

/** The commands that a server has executed since the reset of the counters. */
export interface CommandCounts {
  /** Calls by clients and by scripts, and their time in microseconds. */
  readonly [command: string]: { readonly calls: number; readonly usec: number };
}

export async function commandCounts(server: RedisProcess): Promise<CommandCounts> {
  const stats = await server.info('commandstats');
  return Object.fromEntries(
    Object.entries(stats).map(([name, text]) => {
      const field = (key: string): number => Number(new RegExp(`${key}=(\\d+)`).exec(text)?.[1] ?? 0);
      return [name.replace('cmdstat_', ''), { calls: field('calls'), usec: field('usec') }];
    }),
  );
}

/** Counts with MONITOR the commands of clients in `ms`, without those of scripts and replicas. */
export async function countClientCommands(server: RedisProcess, ms: number): Promise<number> {
  const socket = connect({ host: '127.0.0.1', port: server.port });
  await once(socket, 'connect');
  let count = 0;
  createInterface(socket).on('line', (line) => {
    const command = /^\+[\d.]+ \[\d+ (\S+)\] "(\w+)"/.exec(line);
    if (command !== null && command[1] !== 'lua' && command[2]?.toLowerCase() !== 'replconf') count++;
  });
  socket.write('MONITOR\r\n');
  await sleep(ms);
  socket.destroy();
  return count;
}
