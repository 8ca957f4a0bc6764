import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../../lib/common/clock.js';
import type { AcquireOutcome, LockStore } from '../../../../lib/store/lock-store.js';
import { slotOf, startCluster, type TestCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import { freePort } from '../../../support/ports.js';
import { startRedis } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startCluster();
}, 30_000);
afterEach(() => stores.closeAll());
afterAll(() => cluster.dispose());

function askOnce(store: LockStore, key: string): Promise<AcquireOutcome> {
  return store.acquire(requestFor(key, { waitUntil: systemClock.monotonic(), replicaTimeout: 500 })).outcome;
}

describe('A Cluster that cannot be reached', () => {
  it('is reported with every seed and its answer', async () => {
    const [one, other] = [await freePort(), await freePort()];
    const store = stores.open({ nodes: [one, other] });
    const outcome = await askOnce(store, 'k');
    expect(outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/No node of the Redis Cluster/),
    });
    for (const port of [one, other]) expect(JSON.stringify(outcome)).toMatch(`127.0.0.1:${port}: `);
    expect(store.health()).toMatchObject({
      status: 'down',
      masters: [{ connected: false, reason: expect.stringContaining(`127.0.0.1:${one}`) }],
    });
    await until(() => stores.reports.some(({ code }) => code === 'unreachable'), { what: 'it is reported' });
  });

  it('is not reported if one seed answers', async () => {
    await take(stores.open({ nodes: [await freePort(), cluster.nodes[1]!.port] }), 'one-seed');
  });

  it('is reported with the seed that is not a Cluster node', async () => {
    await using single = await startRedis();
    expect(await askOnce(stores.open({ nodes: [single.port] }), 'k')).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(
        `${single.address}: the server is not a Redis Cluster node.*without .nodes.`,
      ),
    });
    await take(stores.open({ nodes: [single.port, cluster.nodes[0]!.port] }), 'mixed');
    await stores.closeAll();
  });

  it('is reported if a node of it was given as a plain connection', async () => {
    const node = await cluster.ownerOf(slotOf('k'));
    const other = cluster.nodes.slice(0, 3).find((each) => each !== node)!;
    expect(await askOnce(stores.open(other.url), 'k')).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/it is a node of a Redis Cluster: give the connection as { nodes/),
    });
  });

  it('is reported at once if a password is missing or wrong; the right password works', async () => {
    const clients = cluster.nodes.map((node) => node.client());
    await Promise.all(clients.map((client) => client.config('SET', 'requirepass', 'secret')));
    await Promise.all(clients.map((client) => client.config('SET', 'masterauth', 'secret')));
    try {
      const { nodes } = cluster.connection;
      expect(await stores.open({ nodes }).acquire(requestFor('k')).outcome).toMatchObject({
        kind: 'unavailable',
        permanent: true,
        reason: expect.stringMatching(/NOAUTH.*password/),
      });
      expect(
        await stores
          .open({ nodes, options: { redisOptions: { password: 'wrong' } } })
          .acquire(requestFor('k')).outcome,
      ).toMatchObject({ permanent: true, reason: expect.stringMatching(/WRONGPASS/) });
      await take(stores.open({ nodes, options: { redisOptions: { password: 'secret' } } }), 'by-option');
      await take(stores.open({ nodes: [`redis://:secret@${cluster.nodes[0]!.address}`] }), 'by-url');
      await stores.closeAll();
    } finally {
      await Promise.all(clients.map((client) => client.config('SET', 'requirepass', '')));
      for (const client of clients) client.disconnect();
    }
  });
});

describe('A user with the permissions that the documentation lists', () => {
  const lines = readFileSync('docs/production.md', 'utf8').matchAll(/^ACL SETUSER locks (.*)$/gm);
  const user = ['locks', ...[...lines].flatMap(([, rights = '']) => rights.split(' '))];
  const nodes = (): string[] => cluster.nodes.map(({ address }) => `redis://locks:secret@${address}`);

  it('can do everything with cluster|nodes in addition, and gets an error without that', async () => {
    for (const node of cluster.nodes) await node.call('ACL', 'SETUSER', ...user);
    expect(await stores.open({ nodes: nodes() }).acquire(requestFor('acl')).outcome).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/NOPERM.*cluster\|nodes.*documentation/),
    });
    await stores.closeAll();
    for (const node of cluster.nodes) await node.call('ACL', 'SETUSER', 'locks', '+cluster|nodes');
    const store = stores.open({ nodes: nodes() });
    const held = await take(store, ['acl-1', 'acl-2', 'acl-3']);
    expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    expect(await store.release(held, 0)).toEqual({ kind: 'released', ours: true });
    expect(stores.reports).toEqual([]);
  });
});

describe('A Cluster with a slot that no master serves', () => {
  const [lost, fine] = ['nobody', 'somebody'];

  /** Runs while no master serves the slot of `key`. */
  async function without(run: () => Promise<void>, key = lost): Promise<void> {
    const owner = await cluster.ownerOf(slotOf(key));
    const others = cluster.nodes.slice(0, 3).filter((node) => node !== owner);
    // The owner first: as long as the owner claims the slot, the others hear of that.
    for (const node of [owner, ...others]) await node.call('CLUSTER', 'DELSLOTS', slotOf(key));
    try {
      await run();
    } finally {
      await owner.call('CLUSTER', 'ADDSLOTS', slotOf(key));
      await cluster.untilWhole();
    }
  }

  it('refuses locks in that slot and names the slot, and grants all other locks', async () => {
    const store = stores.open(cluster.connection);
    await take(store, fine).then((held) => store.release(held, 0));
    await without(async () => {
      await until(async () => JSON.stringify(await askOnce(store, lost)).includes('1 of 16384'), {
        what: 'the store knows',
      });
      expect(await askOnce(store, lost)).toMatchObject({
        kind: 'unavailable',
        reason: expect.stringMatching(new RegExp(`slot ${slotOf(lost)} .*1 of 16384 slots.*cluster fix`)),
      });
      granted(await askOnce(store, fine));
      granted(await askOnce(stores.open(cluster.connection), 'somebody-else'));
    });
    await take(store, lost);
  });

  it('refuses all locks if it requires full coverage (CLUSTERDOWN), until the slot is served', async () => {
    const store = stores.open(cluster.connection);
    const held = await take(store, 'insisting');
    const insist = async (value: string): Promise<void> => {
      for (const node of cluster.nodes)
        await node.call('CONFIG', 'SET', 'cluster-require-full-coverage', value);
    };
    await insist('yes');
    let renewal: Promise<unknown> | undefined;
    try {
      await without(async () => {
        await until(async () => JSON.stringify(await askOnce(store, 'insisting-2')).includes('CLUSTERDOWN'), {
          what: 'the Cluster is down',
        });
        renewal = store.renew(held, 10_000).outcome;
        expect(await askOnce(store, 'insisting-2')).toMatchObject({
          kind: 'unavailable',
          reason: expect.stringMatching(/refused: CLUSTERDOWN.*cluster-require-full-coverage no/),
        });
      });
    } finally {
      await insist('no');
    }
    expect(await renewal).toMatchObject({ kind: 'renewed' });
  });

  async function untilUnserved(store: LockStore, key: string): Promise<void> {
    await until(async () => JSON.stringify(await askOnce(store, key)).includes('1 of 16384'), {
      what: 'the store knows',
    });
  }

  async function untilFree(key: string, token: number): Promise<void> {
    await until(async () => String(await cluster.call('GET', `lock:${key}`)) === String(token), {
      what: `${key} was released by its lock`,
    });
  }

  it('says that a release in that slot has no answer, and repeats the release once the slot is served', async () => {
    // The released key keeps its token for `clockSkew`, long enough to be seen.
    const store = stores.open(cluster.connection, { replicaTimeout: 500, clockSkew: 10_000 });
    const [key, other] = ['released', 'released-too'];
    const held = await take(store, [key, other]);
    await without(async () => {
      await untilUnserved(store, key);
      expect(await store.release(held, 0)).toMatchObject({
        kind: 'unavailable',
        reason: expect.stringMatching(
          new RegExp(`slot ${slotOf(key)} .*cluster fix.*sent again until the lease has passed\\.$`),
        ),
      });
      await untilFree(other, held.token);
    }, key);
    await untilFree(key, held.token);
  });
});

describe('A shard without replicas', () => {
  it('is named when it refuses a lock, and the other shards grant locks', async () => {
    const lonely = await cluster.add();
    const store = stores.open(cluster.connection);
    await cluster.move([slotOf('lonely')], lonely);
    expect(await askOnce(store, 'lonely')).toMatchObject({
      kind: 'unconfirmed',
      confirmed: 0,
      required: 1,
      replicas: [],
      master: expect.stringMatching(`^master ${lonely.address} of slots ${slotOf('lonely')}$`),
    });
    granted(await askOnce(store, 'in-company'));
    const { status, masters } = store.health();
    expect(status).toBe('degraded');
    expect(masters.find(({ address }) => address === lonely.address)?.reason).toMatch(
      /has no replica, so every lock on it is refused.*allowNoReplicas: true/,
    );
    expect(masters.filter(({ reason }) => reason === undefined)).toHaveLength(3);

    await cluster.add({ replicaOf: lonely });
    await take(store, 'lonely', { waitUntil: systemClock.monotonic() + 10_000 }).catch(() => undefined);
    await until(async () => ['granted', 'busy'].includes((await askOnce(store, 'lonely')).kind), {
      what: 'the replica is there',
    });
  }, 30_000);

  it('is named when it is down, and the other shards grant locks', async () => {
    const store = stores.open(cluster.connection);
    const lonely = await cluster.ownerOf(slotOf('lonely'));
    await take(store, 'warm-up');
    const [replica] = await cluster.replicasOf(lonely);
    await Promise.all([lonely.kill(), replica!.kill()]);
    await until(
      async () => {
        const outcome = await askOnce(store, 'lonely');
        return outcome.kind === 'unavailable' && outcome.reason.includes(`master ${lonely.address} of slots`);
      },
      { what: 'the shard is named' },
    );
    granted(await askOnce(store, 'in-company-2'));
    expect(store.health().status).toBe('degraded');
  });
});
