import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Part } from '../processes/part.js';
import { percentile } from '../report/statistics.js';
import { subjects, subjectNamed } from '../subjects/index.js';
import type { Server } from '../subjects/subject.js';
import type { Report, Workload } from './workload.js';

/*
 * Another client deletes or overwrites the key of a held lock. When is the holder told?
 */

const LEASE = 3_000;
/** ms after which a holder counts as never told. */
const PATIENCE = 2 * LEASE;

interface Params {
  readonly subject: string;
  readonly server: Server;
  readonly locks: number;
}

export async function part({ subject, server, locks }: Params): Promise<(number | null)[]> {
  const locker = await subjectNamed(subject).connect(server);
  const other = new Redis(server);
  const told = Array.from({ length: locks }, async (_, i) => {
    const key = `bench:lost:${i}`;
    let lostAt: number | undefined;
    let onLost: () => void = () => {};
    const lost = new Promise<void>((resolve) => (onLost = resolve));
    await locker.holdUntilLost?.(key, LEASE, () => {
      lostAt ??= performance.now();
      onLost();
    });
    // One key after the other, and not in step with the renewals.
    await sleep(20 + i * 25);
    const [redisKey = key] = await other.keys(`*${key.replaceAll(':', '?')}`);
    const changedAt = performance.now();
    await (i % 2 === 0 ? other.del(redisKey) : other.set(redisKey, 'another owner'));
    await Promise.race([lost, sleep(PATIENCE)]);
    return lostAt === undefined ? null : lostAt - changedAt;
  });
  return Promise.all(told);
}

export const toldOfLoss: Workload = {
  name: 'told-of-loss',
  async run(bench): Promise<Report> {
    const able = bench.subjects.filter(({ name }) =>
      ['nestjs-replica-lock', 'redlock 5', '@sesamecare-oss/redlock', 'redis-semaphore'].includes(name),
    );
    const rows = [];
    for (const { name } of able) {
      await bench.servers.master.call('FLUSHALL');
      const params: Params = { subject: name, server: bench.server, locks: bench.smoke ? 2 : 40 };
      const told = await Part.run<(number | null)[]>(import.meta.url, params);
      const times = told.filter((time) => time !== null);
      rows.push([
        name,
        percentile(times, 0.5),
        percentile(times, 0.99),
        times.length,
        told.length - times.length,
      ]);
      bench.log(name);
    }
    const never = subjects.filter(
      ({ kind, name }) => kind === 'peer' && !able.some((each) => each.name === name),
    );
    return {
      tables: [
        {
          title: 'Time until a holder is told of a deleted or overwritten key',
          note: `Lease ${LEASE} ms. These libraries do not tell the holder by a signal or callback: ${never.map(({ name }) => name).join(', ')}.`,
          columns: ['subject', 'told after, p50 ms', 'p99 ms', 'told', 'never told'],
          rows: rows.toSorted((a, b) => Number(a[1]) - Number(b[1])),
        },
      ],
    };
  },
};
