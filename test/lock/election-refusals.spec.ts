import { afterEach, describe, expect, it } from '@jest/globals';
import type { LockElection } from '../../lib/lock/election.js';
import type { LockService } from '../../lib/lock/lock-service.js';
import { RedisServices } from '../store/redis/redis-stores.js';
import { until } from '../support/eventually.js';
import { startRedis, type RedisProcess } from '../support/redis-process.js';

const services = new RedisServices();
afterEach(() => services.closeAll());

const SHORT = { retryTime: 50 };

function stand(server: RedisProcess): { election: LockElection; reports: string[]; locks: LockService } {
  const { locks } = services.open(server.url, { allowNoReplicas: true });
  const reports: string[] = [];
  locks.reports.subscribe(({ level, code, message }) => {
    if (code.startsWith('election-')) reports.push(`${level} ${code}: ${message}`);
  });
  return { election: locks.elect('boss', SHORT), reports, locks };
}

/** Attempts since the refusal. More of them must not be reported. */
async function refusedOften(server: RedisProcess, reports: readonly string[]): Promise<void> {
  await until(() => reports.length > 0, { what: 'the refusal is reported' });
  const attempts = async (): Promise<number> =>
    Number((await server.info('stats'))['total_commands_processed']);
  const before = await attempts();
  await until(async () => (await attempts()) > before + 20, { what: 'more attempts', within: 15_000 });
}

async function leads(election: LockElection): Promise<void> {
  await until(() => election.isLeader, { what: 'this process leads', within: 10_000 });
}

describe('A candidate that Redis refuses stands again when the cause is mended', () => {
  it('a foreign value of the key that is removed', async () => {
    await using server = await startRedis();
    const { election, reports } = stand(server);
    await leads(election);
    let isOver = false;
    election.changes.subscribe({ complete: () => (isOver = true), error: () => (isOver = true) });
    await server.call('SET', 'lock:boss', 'foreign');
    await refusedOften(server, reports);
    expect(election.isLeader).toBe(false);
    await server.call('DEL', 'lock:boss');
    await leads(election);
    expect(isOver).toBe(false);
    expect(reports).toEqual([
      expect.stringMatching(/^error election-refused: .*'boss'.* holds the value 'foreign'/),
      expect.stringMatching(/^log election-resumed: .*'boss' again/),
    ]);
  });

  it('a foreign value that gives way to another leader', async () => {
    await using server = await startRedis();
    const [first, second] = [stand(server), stand(server)];
    await until(() => first.election.isLeader || second.election.isLeader, { what: 'one leads' });
    await server.call('SET', 'lock:boss', 'foreign');
    await Promise.all([first, second].map(({ reports }) => refusedOften(server, reports)));
    await server.call('DEL', 'lock:boss');
    await until(() => [first, second].every(({ reports }) => reports.length === 2), {
      what: 'both stand again',
      within: 10_000,
    });
    expect([first, second].filter(({ election }) => election.isLeader)).toHaveLength(1);
  });

  it('a right that the user lacks (NOPERM)', async () => {
    await using server = await startRedis();
    const client = server.client();
    await client.call('ACL', 'SETUSER', 'default', 'resetkeys', '~lock:other*');
    const { election, reports } = stand(server);
    await refusedOften(server, reports);
    await client.call('ACL', 'SETUSER', 'default', '~*');
    await leads(election);
    expect(reports).toEqual([
      expect.stringMatching(/^error election-refused: .*NOPERM/),
      expect.stringMatching(/^log election-resumed/),
    ]);
  });

  it('a server that may evict locks, and whose policy is mended', async () => {
    await using server = await startRedis({ maxmemory: '50mb', 'maxmemory-policy': 'allkeys-lru' });
    const { election, reports, locks } = stand(server);
    await refusedOften(server, reports);
    await server.call('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await leads(election);
    expect(reports).toEqual([
      expect.stringMatching(/^error election-refused: .*allkeys-lru/),
      expect.stringMatching(/^log election-resumed/),
    ]);
    await (await locks.acquire('another key')).release();
  });
});
