import type { Redis } from 'ioredis';
import { sum } from './statistics.js';

/** us of CPU that the servers have used together. */
export async function cpuTimeOf(servers: readonly Redis[]): Promise<number> {
  const times = await Promise.all(
    servers.map(async (server) => {
      const info = await server.info('cpu');
      return (numberIn(info, 'used_cpu_user') + numberIn(info, 'used_cpu_sys')) * 1e6;
    }),
  );
  return sum(times);
}

/** The number in a field of an answer to INFO. 0 if the answer has no such field. */
export function numberIn(info: string, field: string): number {
  return Number(new RegExp(`^${field}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
}
