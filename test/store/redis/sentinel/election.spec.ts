import { afterEach, describe, expect, it } from '@jest/globals';
import type { LockElection } from '../../../../lib/lock/election.js';
import { until } from '../../../support/eventually.js';
import { Link } from '../../../support/link.js';
import { startReplication } from '../../../support/replication.js';
import { startSentinels } from '../../../support/sentinels.js';
import { RedisServices } from '../redis-stores.js';

const leadersOf = (elections: readonly LockElection[]): LockElection[] =>
  elections.filter(({ isLeader }) => isLeader);

async function theLeader(elections: readonly LockElection[]): Promise<LockElection> {
  await until(() => leadersOf(elections).length > 0, { what: 'a copy leads', within: 10_000 });
  expect(leadersOf(elections)).toHaveLength(1);
  return leadersOf(elections)[0]!;
}

describe('An election on a master with two replicas', () => {
  const services = new RedisServices();
  afterEach(() => services.closeAll());

  it('has one leader at a time among three copies that resign one after the other', async () => {
    await using servers = await startReplication({ replicas: 2 });
    const elections = Array.from({ length: 3 }, () => services.open(servers.master.url).locks.elect('boss'));
    let acting = 0;
    let most = 0;
    const tokens: number[] = [];
    for (const election of elections) {
      void election.run(async (term) => {
        most = Math.max(most, ++acting);
        tokens.push(term.fencingToken);
        await new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
        acting--;
      });
    }
    const left = new Set(elections);
    while (left.size > 0) {
      const leader = await theLeader([...left]);
      await until(() => acting === 1, { what: 'the work of the term runs' });
      await leader.resign();
      left.delete(leader);
    }
    expect(most).toBe(1);
    expect(tokens).toHaveLength(3);
    expect(tokens).toEqual(tokens.toSorted((a, b) => a - b));
  });

  it('tells the leader that its key was deleted, and has a leader again', async () => {
    await using servers = await startReplication({ replicas: 2 });
    const elections = [1, 2].map(() => services.open(servers.master.url).locks.elect('boss'));
    const leader = await theLeader(elections);
    const changes: string[] = [];
    leader.changes.subscribe(({ type }) => changes.push(type));
    // Tracking begins a few ms after the grant.
    await until(
      async () => {
        if (!changes.includes('deposed')) await servers.master.call('DEL', 'lock:boss');
        return changes.includes('deposed');
      },
      { what: 'the leader was told' },
    );
    await theLeader(elections);
  });
});

describe('An election whose leader is cut off from Redis', () => {
  const services = new RedisServices();
  afterEach(() => services.closeAll());

  it('has the next leader when the lease of the former has ended, who stopped leading before', async () => {
    await using servers = await startReplication({ replicas: 2 });
    await using link = await Link.to(servers.master);
    const [leaseTime, clockSkew] = [2_000, 1_000];
    const leading = services.open(link.url, { leaseTime, clockSkew } as object).locks.elect('boss');
    await until(() => leading.isLeader, { what: 'the first copy leads', within: 10_000 });
    const changes: string[] = [];
    leading.changes.subscribe(({ type }) => changes.push(type));
    const others = [1, 2].map(() => services.open(servers.master.url).locks.elect('boss'));
    const formerToken = leading.term!.fencingToken;
    let overlapped = false;
    for (const other of others)
      other.changes.subscribe(({ type }) => (overlapped ||= type === 'elected' && leading.isLeader));

    link.stall();
    const cutAt = Date.now();
    // The expiry of the key is the lease and clockSkew; the rest is room for a busy machine.
    await until(() => leadersOf(others).length === 1, {
      what: 'the next copy leads',
      within: leaseTime + clockSkew + 5_000,
    });
    const took = Date.now() - cutAt;
    expect(overlapped).toBe(false);
    expect(changes).toEqual(['elected', 'deposed']);
    expect(leadersOf(others)[0]!.term!.fencingToken).toBeGreaterThan(formerToken);
    // Not before the lease of the last renewal, which is at most a third of a lease old.
    expect(took).toBeGreaterThan((leaseTime * 2) / 3 - 100);
    link.resume();
    link.cut();
  }, 30_000);
});

describe('An election through a fail-over of Sentinel', () => {
  const services = new RedisServices();
  afterEach(() => services.closeAll());

  it('never has two leaders, and keeps the leader or has one again', async () => {
    await using deployment = await startSentinels();
    const elections = [1, 2, 3].map(() =>
      services.open(deployment.connection, { leaseTime: 8_000 } as object).locks.elect('boss'),
    );
    await theLeader(elections);
    let most = 0;
    const watching = setInterval(() => (most = Math.max(most, leadersOf(elections).length)), 5);
    try {
      const former = await deployment.master();
      await former.kill();
      await deployment.untilPromoted(former);
      await until(() => leadersOf(elections).length === 1, { what: 'a leader', within: 20_000 });
    } finally {
      clearInterval(watching);
    }
    expect(most).toBe(1);
  }, 60_000);
});
