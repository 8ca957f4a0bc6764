import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../../lib/common/clock.js';
import type { AcquireOutcome, LockStore, MasterHealth } from '../../../../lib/store/lock-store.js';
import { slotOf, startCluster, type TestCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import type { RedisProcess } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisServices, RedisStores } from '../redis-stores.js';

const QUARANTINE = 3_000;
const stores = new RedisStores();
const services = new RedisServices();
let cluster: TestCluster;
/**
 * The first master's shard has two replicas. After a fail-over one replica is left.
 */
let first: RedisProcess;

beforeAll(async () => {
  cluster = await startCluster();
  first = cluster.nodes[0]!;
  await cluster.add({ replicaOf: first });
}, 30_000);
afterEach(async () => {
  await services.closeAll();
  await stores.closeAll();
});
afterAll(() => cluster.dispose());

function askOnce(store: LockStore, key: string): Promise<AcquireOutcome> {
  return store.acquire(requestFor(key, { leaseTime: QUARANTINE, waitUntil: systemClock.monotonic() }))
    .outcome;
}

function masterHealth(store: LockStore, master: RedisProcess): MasterHealth | undefined {
  return store.health().masters.find(({ address }) => address === master.address);
}

async function untilTrusted(store: LockStore): Promise<void> {
  await until(
    () => {
      const { masters } = store.health();
      return (
        masters.length >= 3 && masters.every(({ connected, quarantine }) => connected && quarantine === 0)
      );
    },
    { within: 15_000, what: 'every shard grants' },
  );
}

describe('A lock that is held', () => {
  it('is lost with the name of the missing replica and its shard if one of two slots is not confirmed', async () => {
    const { locks } = services.open(cluster.connection);
    const [whole, broken] = [cluster.nodes[1]!, cluster.nodes[2]!];
    const lock = await locks.acquire([await cluster.keyOf(whole), await cluster.keyOf(broken)], {
      leaseTime: 1_500,
    });
    const [replica] = await cluster.replicasOf(broken);
    await replica!.stop();
    await until(() => lock.signal.aborted, { what: 'the lock was lost' });
    replica!.resume();
    expect((lock.signal.reason as Error).message).toMatch(
      new RegExp(
        `before a renewal was confirmed: 0 of the 1 .* Missing on the .*${broken.address}.*: ${replica!.address} \\(`,
      ),
    );
    await cluster.untilWhole();
  }, 30_000);

  it('goes on through CLUSTER FAILOVER, confirmed by the servers of the same shard', async () => {
    const store = stores.open(cluster.connection);
    const key = await cluster.keyOf(first);
    const held = await take(store, key);
    const [replica] = await cluster.replicasOf(first);
    await cluster.failOver(replica!);
    expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    await until(() => masterHealth(store, replica!)?.replicas.length === 2, {
      what: 'the former master is one of the replicas',
    });
    expect(await askOnce(stores.open(cluster.connection), key)).toMatchObject({ kind: 'busy' });
    await store.release(held, 0);
    first = replica!;
    await cluster.untilWhole();
  }, 30_000);

  it('goes on when its master dies and a replica takes its place; the dead master still counts as a server', async () => {
    const store = stores.open(cluster.connection);
    const key = await cluster.keyOf(first);
    const elsewhere = await cluster.keyOf(cluster.nodes[1]!);
    const held = await take(store, key, { leaseTime: 15_000 });
    await first.kill();
    const renewal = store.renew(held, 15_000).outcome;
    await take(store, elsewhere);
    expect(await renewal).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    const successor = await cluster.ownerOf(slotOf(key));
    expect(successor).not.toBe(first);
    const replicas = masterHealth(store, successor)!.replicas;
    expect(replicas).toContainEqual(expect.objectContaining({ address: first.address, lag: null }));
    expect(replicas).toHaveLength(2);
    expect(await askOnce(store, key)).toMatchObject({ kind: 'busy' });
    await take(store, await cluster.keyOf(successor));

    await first.restart();
    await until(() => masterHealth(store, successor)?.replicas.every(({ lag }) => lag !== null), {
      within: 15_000,
      what: 'the dead master is back as a replica',
    });
    expect(masterHealth(store, successor)!.replicas).toHaveLength(2);
    // The log says of which slots it speaks: the other shards grant.
    const textOf = (code: string): string[] =>
      stores.allReports.filter((report) => report.code === code).map(({ message }) => message);
    expect(textOf('unreachable')).toEqual([
      expect.stringMatching(
        new RegExp(`^Redis at ${first.address} .*Locks in its slots are refused until that is mended\\.$`),
      ),
    ]);
    expect(textOf('servers')).toContainEqual(
      expect.stringContaining(`Redis at ${successor.address} is a master of the Cluster. `),
    );
    first = successor;
    await cluster.untilWhole();
  }, 40_000);

  it('goes on when its master hangs and is replaced, and is safe when the old master wakes', async () => {
    const [store, rival] = [stores.open(cluster.connection), stores.open(cluster.connection)];
    const key = await cluster.keyOf(first);
    const held = await take(store, key, { leaseTime: 15_000 });
    await first.stop();
    const successor = await cluster.untilReplaced(first, slotOf(key));
    expect(await store.renew(held, 15_000).outcome).toMatchObject({ kind: 'renewed' });
    first.resume();
    expect(await askOnce(rival, key)).toMatchObject({ kind: 'busy', holder: { owner: held.owner } });
    expect(await store.renew(held, 15_000).outcome).toMatchObject({ kind: 'renewed' });
    first = successor;
    await cluster.untilWhole();
  }, 40_000);
});

describe('A new lock', () => {
  it('waits for a quarantine after a fail-over, only in that shard, and in its slots even if they move', async () => {
    const store = stores.open(cluster.connection, { quarantine: QUARANTINE });
    const openedAt = systemClock.monotonic();
    await untilTrusted(store);
    const [second, third] = cluster.nodes.slice(1, 3) as [RedisProcess, RedisProcess];
    const [stays, goes, elsewhere, wanders] = [
      await cluster.keyOf(first),
      await cluster.keyOf(first),
      await cluster.keyOf(second),
      await cluster.keyOf(third),
    ];
    await take(store, goes, { leaseTime: QUARANTINE }).then((held) => store.release(held, 0));
    // If all shards are trusted, a slot's move costs nothing.
    await cluster.move([slotOf(wanders)], second);
    granted(await askOnce(store, wanders));

    await until(() => systemClock.monotonic() - openedAt > QUARANTINE + 1_000, {
      what: 'the store has seen every slot for a quarantine',
    });
    const [replica] = await cluster.replicasOf(first);
    // At once, because the Cluster may need as long as a quarantine to agree on the new master.
    const refusal = until(
      async () => {
        const { reason = '' } = masterHealth(store, replica!) ?? {};
        return reason.includes('option quarantine') && (await askOnce(store, stays));
      },
      { what: 'the store knows that its replicas are new', within: 15_000 },
    );
    await cluster.failOver(replica!);
    expect(await refusal).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('option quarantine'),
    });
    await cluster.move([slotOf(goes)], second);
    await until(
      async () => {
        const moved = await askOnce(store, goes);
        expect(moved).toMatchObject({
          kind: 'unavailable',
          reason: expect.stringContaining(`${second.address} of slots`),
        });
        return true;
      },
      { what: 'the store knows where the slot has gone' },
    );
    expect(await askOnce(store, goes)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining(`slot ${slotOf(goes)} moved`),
      retryAfter: expect.any(Number),
    });
    granted(await askOnce(store, elsewhere));

    // A process that has just started cannot know where slots have been.
    const fresh = stores.open(cluster.connection, { quarantine: QUARANTINE });
    expect(await askOnce(fresh, await cluster.keyOf(third))).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('is new to this process'),
    });

    await take(store, goes, { leaseTime: QUARANTINE, waitUntil: systemClock.monotonic() + 15_000 });
    await take(store, stays, { leaseTime: QUARANTINE, waitUntil: systemClock.monotonic() + 15_000 });
    await take(fresh, await cluster.keyOf(third), {
      leaseTime: QUARANTINE,
      waitUntil: systemClock.monotonic() + 15_000,
    });
    first = replica!;
    await cluster.untilWhole();
  }, 60_000);

  it('waits if a move was called off after the keys had moved', async () => {
    const store = stores.open(cluster.connection, { quarantine: QUARANTINE });
    await untilTrusted(store);
    const [second, third] = cluster.nodes.slice(1, 3) as [RedisProcess, RedisProcess];
    const key = await cluster.keyOf(second);
    const held = await take(store, key, { leaseTime: QUARANTINE });
    await cluster.beginMove(slotOf(key), third);
    await cluster.moveKeys(slotOf(key), second, third);
    const renewal = store.renew(held, QUARANTINE).outcome;
    expect((await askOnce(store, key)).kind).toBe('unavailable');
    for (const node of [second, third]) await node.call('CLUSTER', 'SETSLOT', slotOf(key), 'STABLE');
    expect(await renewal).toEqual({ kind: 'gone', key });
    expect(await askOnce(store, key)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining(`slot ${slotOf(key)}`),
    });
    await take(store, key, { leaseTime: QUARANTINE, waitUntil: systemClock.monotonic() + 10_000 });
  }, 30_000);
});
