import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { ElectionChange, LockElection } from '../../../../lib/lock/election.js';
import { slotOf, startCluster, type TestCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import type { RedisProcess } from '../../../support/redis-process.js';
import { RedisServices } from '../redis-stores.js';

const COPIES = 3;
const services = new RedisServices();
let cluster: TestCluster;
/** The master of a shard with two replicas, so that a fail-over leaves a majority of servers. */
let first: RedisProcess;

beforeAll(async () => {
  cluster = await startCluster();
  first = cluster.nodes[0]!;
  await cluster.add({ replicaOf: first });
}, 30_000);
afterEach(() => services.closeAll());
afterAll(() => cluster.dispose());

/** One election among several copies of an application. */
class Copies {
  readonly changes: ElectionChange['type'][] = [];
  /** The most copies that led at once, asked at each election and each loss. */
  most = 0;

  constructor(readonly elections: readonly LockElection[]) {
    for (const { changes } of elections)
      changes.subscribe(({ type }) => {
        this.changes.push(type);
        this.most = Math.max(this.most, this.leaders.length);
      });
  }

  get leaders(): LockElection[] {
    return this.elections.filter(({ isLeader }) => isLeader);
  }

  async leader(what: string): Promise<LockElection> {
    await until(() => this.leaders.length > 0, { what, within: 20_000 });
    return this.leaders[0]!;
  }
}

/** The same copies stand for all these elections, one for each key. */
function open(keys: readonly string[], leaseTime: number): Copies[] {
  const locks = Array.from(
    { length: COPIES },
    () => services.open(cluster.connection, { leaseTime } as object).locks,
  );
  return keys.map((key) => new Copies(locks.map((each) => each.elect(key))));
}

describe("An election through a fail-over of its slot's master", () => {
  it('keeps its leader through CLUSTER FAILOVER', async () => {
    const [copies] = open([await cluster.keyOf(first)], 10_000) as [Copies];
    const leader = await copies.leader('a copy leads');
    const { term } = leader;
    const [replica] = await cluster.replicasOf(first);
    await cluster.failOver(replica!);
    await term!.extend();
    expect(leader.term).toBe(term);
    expect(copies).toMatchObject({ most: 1, changes: ['elected'] });
    first = replica!;
    await until(async () => (await cluster.replicasOf(first)).length === 2, {
      within: 10_000,
      what: 'the former master is a replica',
    });
    await cluster.untilWhole();
  }, 30_000);

  it('has the next leader on the successor if the last term ended unconfirmed, and never two', async () => {
    const elsewhere = await cluster.keyOf(cluster.nodes[1]!);
    const [copies, others] = open([await cluster.keyOf(first), elsewhere], 2_000) as [Copies, Copies];
    const former = await copies.leader('a copy leads');
    await others.leader('a copy leads in another shard');
    const token = former.term!.fencingToken;
    const replicas = await cluster.replicasOf(first);
    expect(replicas).toHaveLength(2);

    for (const replica of replicas) await replica.stop();
    await until(() => copies.changes.length === 2, { what: 'the leader stopped leading' });
    expect(copies).toMatchObject({ leaders: [], changes: ['elected', 'deposed'] });
    // Replicas must answer before their master is killed, so that they may take its place.
    const killed = first.kill();
    for (const replica of replicas) replica.resume();
    await killed;
    first = await cluster.untilReplaced(first, slotOf(former.key));
    const next = await copies.leader('a copy leads again');
    await next.term!.extend();
    expect(next.term!.fencingToken).toBeGreaterThan(token);
    expect(copies.most).toBe(1);
    expect(others).toMatchObject({ most: 1, changes: ['elected'] });
  }, 60_000);
});
