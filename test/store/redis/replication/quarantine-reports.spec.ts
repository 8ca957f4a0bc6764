import { afterEach, describe, expect, it } from '@jest/globals';
import { until } from '../../../support/eventually.js';
import { startReplication } from '../../../support/replication.js';
import { RedisStores } from '../redis-stores.js';

describe('The end of a quarantine', () => {
  const stores = new RedisStores();
  const codes = (): string[] => stores.reports.map(({ code }) => code);
  afterEach(() => stores.closeAll());

  it('is not reported while no replica is left to confirm a lock', async () => {
    await using servers = await startReplication({ replicas: 2 });
    const store = stores.open(servers.master.url, { quarantine: 60_000 });
    await until(() => codes().includes('quarantine'), { what: 'the quarantine is reported' });
    for (const replica of servers.replicas) await replica.kill();
    await until(() => store.health().masters[0]?.reason?.startsWith('0 of 2 known replicas answer'), {
      what: 'the store knows that no replica answers',
    });
    expect(codes()).not.toContain('quarantine-over');
  });

  it('is reported once new locks are granted', async () => {
    await using servers = await startReplication({ replicas: 2 });
    stores.open(servers.master.url, { quarantine: 2_000 });
    await until(() => codes().includes('quarantine-over'), {
      what: 'the end of the quarantine is reported',
      within: 15_000,
    });
    expect(codes().filter((code) => code.startsWith('quarantine'))).toEqual([
      'quarantine',
      'quarantine-over',
    ]);
  });
});
