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
    // Replicas may go away before.
    expect(stores.reports.find(({ code }) => code === 'quarantine')?.message).toMatch(
      /: new locks are granted in [12] s at the earliest \(option quarantine\)/,
    );
  });

  it('is not promised while fewer replicas are connected than a lock needs', async () => {
    await using servers = await startReplication({ replicas: 2 });
    const store = stores.open(servers.master.url, { quarantine: 2_500, replicas: 2 });
    await until(() => store.health().masters[0]?.replicas.length === 2, { what: 'the start' });
    for (const replica of servers.replicas) await replica.kill();
    await until(() => codes().includes('replicas-missing'), { what: 'the lack', within: 15_000 });
    stores.reports.length = 0;
    await servers.replica(0).revive();
    // The link of the one replica grows old, and the other is still away.
    const left = (): number => store.health().masters[0]!.quarantine;
    await until(() => left() > 0, { what: 'its link is young', within: 15_000 });
    await until(() => left() === 0, { what: 'its link is old', within: 15_000 });
    expect(store.health().masters[0]?.reason).toMatch(/^1 of 2 known replicas answer, and 2 must confirm/);
    expect(codes()).toEqual([]);
    await servers.replica(1).revive();
    await until(() => codes().includes('granted-again'), { what: 'the all-clear', within: 20_000 });
    expect(codes()).toEqual(['granted-again']);
  }, 60_000);

  it('is not reported while the replicas are stopped, only after they run again', async () => {
    await using servers = await startReplication({ replicas: 2 });
    const store = stores.open(servers.master.url, { quarantine: 3_000 });
    await until(() => codes().includes('quarantine'), { what: 'the quarantine is reported' });
    // So late that the quarantine ends while the replicas still seem to answer.
    await until(() => (store.health().masters[0]?.quarantine ?? 0) < 500, {
      what: 'the quarantine is nearly over',
      within: 15_000,
    });
    for (const replica of servers.replicas) await replica.stop();
    await until(() => codes().includes('replicas-missing'), {
      what: 'the missing replicas are reported',
      within: 15_000,
    });
    expect(codes()).not.toContain('quarantine-over');
    expect(codes()).not.toContain('granted-again');
    for (const replica of servers.replicas) replica.resume();
    await until(() => codes().includes('granted-again'), { what: 'the all-clear', within: 15_000 });
  }, 45_000);
});

describe('The log', () => {
  const stores = new RedisStores();
  const lines = (): string[] => stores.allReports.map(({ level, code }) => `${level} ${code}`);
  const textOf = (code: string): string | undefined =>
    stores.allReports.findLast((report) => report.code === code)?.message;
  afterEach(() => stores.closeAll());

  it('names the master and its replicas at the start and after each change, and what a lock needs', async () => {
    await using servers = await startReplication({ replicas: 2 });
    const [first, second] = servers.replicas.map(({ address }) => address);
    stores.open(servers.master.url, { replicas: 'majority' });
    await until(() => textOf('servers'), { what: 'the servers are named' });
    expect(textOf('servers')).toMatch(
      new RegExp(`^The master is Redis at ${servers.master.address}\\. 2 replicas are connected \\(`),
    );
    expect(textOf('servers')).toContain(first);
    expect(textOf('servers')).toContain(second);
    expect(textOf('servers')).toMatch(
      /\. A new lock needs the confirmation of 1 replica \(replicas: 'majority'\)\.$/,
    );
    await servers.replica(0).kill();
    await until(
      () => textOf('servers')?.includes(`1 replica is connected (${second}), 1 not connected (${first}).`),
      {
        what: 'the change is reported',
      },
    );
    await servers.replica(0).revive();
    await until(() => textOf('servers')?.includes('2 replicas are connected'), {
      what: 'the return is reported',
      within: 15_000,
    });
    expect(lines().filter((line) => line === 'log servers')).toHaveLength(3);
  }, 30_000);

  it('says that new locks are granted again once a first replica is attached', async () => {
    await using servers = await startReplication({ replicas: 0 });
    stores.open(servers.master.url);
    await until(() => textOf('no-replica'), { what: 'the lack is reported' });
    await servers.addReplica();
    await until(() => textOf('granted-again'), { what: 'the all-clear', within: 15_000 });
    expect(textOf('granted-again')).toBe(`Redis at ${servers.master.address}: new locks are granted again.`);
  }, 30_000);

  it('says that new locks are granted again after the master was killed and started again, empty', async () => {
    await using servers = await startReplication({ replicas: 2 });
    stores.open(servers.master.url, { quarantine: 1_000 });
    await until(() => textOf('servers'), { what: 'the start', within: 15_000 });
    stores.allReports.length = 0;
    await servers.master.kill();
    await until(() => textOf('unreachable'), { what: 'the master is missed', within: 15_000 });
    expect(textOf('unreachable')).toMatch(/Locks are refused until that is mended\.$/);
    expect(lines().filter((line) => /over|again/.test(line))).toEqual([]);
    await servers.master.revive();
    await until(() => textOf('quarantine-over') ?? textOf('granted-again'), {
      what: 'the all-clear',
      within: 20_000,
    });
  }, 60_000);

  it('warns of quarantine: 0, and so does health()', async () => {
    await using servers = await startReplication({ replicas: 1 });
    const store = stores.open(servers.master.url, { quarantine: 0 });
    await until(() => textOf('no-quarantine'), { what: 'the warning' });
    expect(lines()).toContain('warn no-quarantine');
    expect(store.health()).toMatchObject({
      status: 'up',
      masters: [{ warnings: [expect.stringContaining('quarantine is 0')] }],
    });
    const safe = stores.open(servers.master.url, { quarantine: 1_000 });
    await until(() => safe.health().masters[0]?.connected, { what: 'it is connected' });
    expect(safe.health().masters[0]?.warnings).toBeUndefined();
    expect(lines().filter((line) => line === 'warn no-quarantine')).toHaveLength(1);
  });

  it('does not advise what the policy in force has already', async () => {
    await using servers = await startReplication({ replicas: 1 });
    const store = stores.open(servers.master.url, { replicas: 3 });
    await until(() => store.health().masters[0]?.connected, { what: 'it is connected' });
    // One of one replica is the majority: "set replicas to 1" would be lost with the next replica.
    expect(store.health().masters[0]?.reason).toMatch(
      /Attach the missing replicas, or set replicas to 'majority'\.$/,
    );
    await servers.replica(0).kill();
    const all = stores.open(servers.master.url, { replicas: 'majority' });
    await until(() => all.health().masters[0]?.connected, { what: 'it is connected' });
    await until(() => all.health().masters[0]?.reason, { what: 'the reason' });
    expect(all.health().masters[0]?.reason).not.toContain("'majority'");
  });
});
