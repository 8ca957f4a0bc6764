import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../../../lib/common/clock.js';
import type { LockStore } from '../../../../lib/store/lock-store.js';
import { startCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import { Link } from '../../../support/link.js';
import type { LinkConnection } from '../../../support/link-connection.js';
import { startReplication, type Replication } from '../../../support/replication.js';
import type { RedisProcess } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
let crowd: Crowd | undefined;
let redis: Replication;

beforeAll(async () => {
  redis = await startReplication({ replicas: 2 });
});
afterEach(async () => {
  await crowd?.end();
  crowd = undefined;
  await stores.closeAll();
  for (const server of [redis.master, ...redis.replicas]) if (!server.isRunning) server.resume();
});
afterAll(async () => {
  await redis.dispose();
});

/** Callers that lock and release until `end()`. Some need all replicas, some share a key. */
class Crowd {
  grants = 0;
  /** Grants of a key that another caller held. */
  overlaps = 0;
  private readonly held = new Set<string>();
  private isOver = false;
  private readonly callers: Promise<void>[];

  constructor(crowdStores: readonly LockStore[], size = 80) {
    this.callers = Array.from({ length: size }, (_, i) =>
      this.call(
        crowdStores[i % crowdStores.length]!,
        i % 4 === 0 ? `shared-${i % 8}` : `own-${i}`,
        i % 3 === 0,
      ),
    );
  }

  /** Resolves when `count` more locks were granted. */
  async untilGranted(count: number): Promise<void> {
    const before = this.grants;
    await until(() => this.grants >= before + count, { within: 10_000, what: 'locks go on' });
  }

  async end(): Promise<void> {
    this.isOver = true;
    await Promise.all(this.callers);
  }

  private async call(store: LockStore, key: string, needsAll: boolean): Promise<void> {
    while (!this.isOver) {
      const request = requestFor(key, {
        replicas: needsAll ? 'all' : 'majority',
        replicaTimeout: 400,
        waitUntil: systemClock.monotonic() + 400,
      });
      const outcome = await store.acquire(request).outcome;
      if (outcome.kind !== 'granted') {
        await sleep(5);
        continue;
      }
      this.grants++;
      if (this.held.has(key)) this.overlaps++;
      this.held.add(key);
      await new Promise((resolve) => setImmediate(resolve));
      this.held.delete(key);
      await store.release({ ...request, ...outcome }, 0);
    }
  }
}

async function runIdOf(server: RedisProcess): Promise<string | undefined> {
  return (await server.info('server'))['run_id'];
}

describe('While one of two replicas hangs and many callers lock', () => {
  it.each(['WRITE', 'ALL'])(
    'a master survives repeated CLIENT PAUSE %s, and locks are still granted',
    async (type) => {
      const run = await runIdOf(redis.master);
      crowd = new Crowd([stores.open(redis.url), stores.open(redis.url)]);
      const operator = redis.master.client();
      await redis.replica(1).stop();
      for (let i = 0; i < 40; i++) {
        await operator.client('PAUSE', 30, type as 'WRITE');
        // Some pauses follow each other at once, others leave time for a few groups.
        await sleep(30 + (i % 4) * 15);
      }
      await crowd.untilGranted(100);
      await crowd.end();
      expect(crowd.overlaps).toBe(0);
      expect(await runIdOf(redis.master)).toBe(run);
    },
    30_000,
  );

  it('a master survives a FAILOVER that is aborted', async () => {
    const run = await runIdOf(redis.master);
    crowd = new Crowd([stores.open(redis.url), stores.open(redis.url)]);
    const hung = redis.replica(1);
    await hung.stop();
    await crowd.untilGranted(20);
    // The hung replica never catches up, so the master pauses writes for the whole time.
    for (let i = 0; i < 3; i++) {
      await redis.master.call('FAILOVER', 'TO', '127.0.0.1', hung.port, 'TIMEOUT', 300);
      await until(
        async () => (await redis.master.info('replication'))['master_failover_state'] === 'no-failover',
        { what: 'the fail-over is given up' },
      );
    }
    await crowd.untilGranted(100);
    await crowd.end();
    expect(crowd.overlaps).toBe(0);
    expect(await runIdOf(redis.master)).toBe(run);
  }, 30_000);

  it('a master of a Cluster survives CLUSTER FAILOVER to the other replica', async () => {
    await using cluster = await startCluster({ masters: 1, replicas: 2 });
    const [master, healthy, hung] = cluster.nodes as [RedisProcess, RedisProcess, RedisProcess];
    const runs = [await runIdOf(master), await runIdOf(healthy)];
    crowd = new Crowd([stores.open(cluster.connection), stores.open(cluster.connection)]);
    await crowd.untilGranted(20);
    await hung.stop();
    // The command pauses the writes of the master until the replica has caught up.
    await cluster.failOver(healthy);
    await crowd.untilGranted(100);
    await crowd.end();
    await stores.closeAll();
    expect(crowd.overlaps).toBe(0);
    expect([await runIdOf(master), await runIdOf(healthy)]).toEqual(runs);
  }, 60_000);
});

describe('A CLIENT UNBLOCK that arrives after its WAIT, while the scripts of the next group are paused', () => {
  it('does no harm: that group is sent again by the same owners, and Redis shows what was granted', async () => {
    const run = await runIdOf(redis.master);
    await using link = await Link.to(redis.master);
    const store = stores.open(link.url);
    const direct = stores.open(redis.url);
    await take(store, 'warm-unblock');
    await redis.replica(1).stop();

    let control: LinkConnection | undefined;
    const unblockIsHeld = link.beforeRequest('unblock', (connection) => {
      control = connection;
      connection.stall('requests');
    });
    const patience = { replicaTimeout: 5_000, waitUntil: systemClock.monotonic() + 8_000 };
    const waitBegins = link.afterReply('role:master');
    const first = store.acquire(requestFor('first-group', patience)).outcome;
    await waitBegins;
    const requests = Array.from({ length: 40 }, (_, i) => requestFor(`second-group-${i}`, patience));
    const others = requests.map((request) => store.acquire(request).outcome);
    await unblockIsHeld;

    const operator = redis.master.client();
    await operator.client('PAUSE', 1_500, 'WRITE');
    const firstHasEnded = link.afterReply('flags=S');
    redis.replica(1).resume();
    await firstHasEnded;
    control!.resume();
    granted(await first);
    for (const [i, outcome] of (await Promise.all(others)).entries()) {
      const { token } = granted(outcome);
      const { owner } = requests[i]!;
      expect(await direct.inspect(`second-group-${i}`)).toMatchObject({ holder: { owner, token } });
    }
    expect(await runIdOf(redis.master)).toBe(run);
  }, 30_000);
});
