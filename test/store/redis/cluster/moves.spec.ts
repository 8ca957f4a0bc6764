import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Cluster } from 'ioredis';
import { filter, firstValueFrom } from 'rxjs';
import { LockService } from '../../../../lib/lock/lock-service.js';
import { systemClock } from '../../../../lib/common/clock.js';
import type { AcquireOutcome, LockStore, RenewOutcome } from '../../../../lib/store/lock-store.js';
import { slotOf, startCluster, type TestCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import type { RedisProcess } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';
import { lockDefaults } from '../../../support/lock-defaults.js';

let cluster: TestCluster;
const stores = new RedisStores();
let count = 0;

beforeAll(async () => {
  cluster = await startCluster();
}, 30_000);
afterEach(() => stores.closeAll());
afterAll(() => cluster.dispose());

/** A fresh key, its master, and another master. */
async function keyWithMasters(): Promise<{ key: string; from: RedisProcess; to: RedisProcess }> {
  const key = `key-${++count}`;
  const from = await cluster.ownerOf(slotOf(key));
  const to = cluster.nodes.slice(0, 3).find((node) => node !== from)!;
  return { key, from, to };
}

function askOnce(store: LockStore, keys: string | string[]): Promise<AcquireOutcome> {
  return store.acquire(requestFor(keys, { waitUntil: systemClock.monotonic() })).outcome;
}

/**
 * How many replicas of the master hold the key's value. A replica answers only once it has heard
 * that its master serves the slot.
 */
async function replicasWith(master: RedisProcess, key: string, value: string): Promise<number> {
  const replicas = await cluster.replicasOf(master);
  const values = await Promise.all(
    replicas.map(async (replica) => {
      const client = replica.client();
      await client.readonly();
      const read = (): Promise<{ found: string | null } | undefined> =>
        client.get(`lock:${key}`).then(
          (found) => ({ found }),
          (error: Error) => {
            if (error.message.startsWith('MOVED')) return undefined;
            throw error;
          },
        );
      return (await until(read, { what: `${replica.address} knows the slot` })).found;
    }),
  );
  return values.filter((each) => each?.startsWith(value)).length;
}

describe('When a slot moves to another master', () => {
  it('a lock in that slot is taken at the new master, even if the process did not know of the move (MOVED)', async () => {
    const { key, to } = await keyWithMasters();
    const store = stores.open(cluster.connection);
    const first = await take(store, key);
    await store.release(first, 0);
    await cluster.move([slotOf(key)], to);
    const second = granted(await askOnce(store, key));
    expect(second.token).toBeGreaterThan(first.token);
    expect(await to.call('GET', `lock:${key}`)).toContain(String(second.token));
  });

  it('a held lock moves with the slot, and is confirmed by the replicas of the new master', async () => {
    const { key, to } = await keyWithMasters();
    const store = stores.open(cluster.connection);
    const held = await take(store, key);
    await cluster.move([slotOf(key)], to);
    const renewed = (await store.renew(held, 10_000).outcome) as Extract<RenewOutcome, { kind: 'renewed' }>;
    expect(renewed).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    expect(await replicasWith(to, key, held.owner)).toBe(1);
    expect(await askOnce(stores.open(cluster.connection), key)).toMatchObject({
      kind: 'busy',
      holder: { owner: held.owner },
    });
    expect(await store.release(held, 0)).toEqual({ kind: 'released', ours: true });
  });

  it('a holder is told of the loss of its key at once: by the old master, and after the move', async () => {
    const { key, to } = await keyWithMasters();
    const store = stores.open(cluster.connection);
    await store.watch(await take(store, key));
    let told = 0;
    store.changes.subscribe((change) => {
      if ('key' in change ? change.key === key : 'where' in change && change.where(key)) told++;
    });
    const from = await cluster.beginMove(slotOf(key), to);
    await cluster.moveKeys(slotOf(key), from, to);
    await until(() => told === 1, { what: 'the holder heard that its key has gone' });
    await cluster.endMove(slotOf(key), to);
    await until(() => told >= 2, { what: 'the holder heard that the slot has changed hands' });
  });

  it('a key that has moved already does not stop the renewals of other keys', async () => {
    const { key, to } = await keyWithMasters();
    const names = ['1', '2', '3', '4', '5', 'ahead'].map((name) => `{lock:${key}}-${name}`);
    const store = stores.open(cluster.connection);
    const held = await Promise.all(names.map((name) => take(store, name)));
    const from = await cluster.beginMove(slotOf(key), to);
    await from.call('MIGRATE', '127.0.0.1', to.port, `lock:${names.at(-1)}`, 0, 5_000);
    const tryAgains = async (): Promise<number> =>
      Number((await from.info('errorstats'))['errorstat_TRYAGAIN']?.split('=')[1] ?? 0);
    const before = await tryAgains();
    // All in one turn of the event loop: at first in one call of the script, and never again.
    const renewals = held.map((each) => store.renew(each, 10_000).outcome);
    for (const renewal of renewals.slice(0, -1)) expect(await renewal).toMatchObject({ kind: 'renewed' });
    expect((await tryAgains()) - before).toBe(1);
    await cluster.moveKeys(slotOf(key), from, to);
    await cluster.endMove(slotOf(key), to);
    expect(await renewals.at(-1)).toMatchObject({ kind: 'renewed' });
    await Promise.all(held.map((each) => store.release(each, 0)));
  });

  it('a renewal waits while the key has moved before its slot (ASK), and is confirmed as soon as the slot follows', async () => {
    const { key, to } = await keyWithMasters();
    const store = stores.open(cluster.connection);
    const held = await take(store, key);
    const from = await cluster.beginMove(slotOf(key), to);
    await cluster.moveKeys(slotOf(key), from, to);
    let outcome: RenewOutcome | undefined;
    const renewal = store.renew(held, 10_000).outcome.then((renewed) => (outcome = renewed));
    expect(await askOnce(store, key)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/ASK .*being moved to another master/),
    });
    expect(outcome).toBeUndefined();
    await cluster.endMove(slotOf(key), to);
    await renewal;
    expect(outcome).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    await store.release(held, 0);
  });

  it('a new lock in the slot waits until the move is over', async () => {
    const { key, to } = await keyWithMasters();
    const store = stores.open(cluster.connection);
    await take(store, `warm-${key}`);
    const from = await cluster.beginMove(slotOf(key), to);
    expect((await askOnce(store, key)).kind).toBe('unavailable');
    await cluster.moveKeys(slotOf(key), from, to);
    await cluster.endMove(slotOf(key), to);
    await take(store, key);
    expect(await to.call('EXISTS', `lock:${key}`)).toBe(1);
  });

  it('the old master serves the keys that are still there', async () => {
    const { key, to } = await keyWithMasters();
    const store = stores.open(cluster.connection);
    const held = await take(store, key);
    const from = await cluster.beginMove(slotOf(key), to);
    expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    expect(await store.release(held, 0)).toEqual({ kind: 'released', ours: true });
    await take(store, key);
    await cluster.moveKeys(slotOf(key), from, to);
    await cluster.endMove(slotOf(key), to);
  });

  it('a lock on two keys of the slot waits while only one key has moved (TRYAGAIN)', async () => {
    const { key, from, to } = await keyWithMasters();
    const keys = [`{${key}}a`, `{${key}}b`];
    const slot = slotOf(keys[0]!);
    const owner = await cluster.ownerOf(slot);
    const target = owner === to ? from : to;
    const store = stores.open(cluster.connection);
    const held = await take(store, keys);
    await cluster.beginMove(slot, target);
    await owner.call('MIGRATE', '127.0.0.1', target.port, `lock:${keys[0]}`, 0, 2_000);
    let outcome: RenewOutcome | undefined;
    const renewal = store.renew(held, 10_000).outcome.then((renewed) => (outcome = renewed));
    expect(await askOnce(store, keys)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('TRYAGAIN'),
    });
    expect(outcome).toBeUndefined();
    await cluster.moveKeys(slot, owner, target);
    await cluster.endMove(slot, target);
    await renewal;
    expect(outcome).toMatchObject({ kind: 'renewed' });
  });

  it('a waiter for a lock in that slot is woken by the release at the new master', async () => {
    const { key, to } = await keyWithMasters();
    const [holder, waiter] = [stores.open(cluster.connection), stores.open(cluster.connection)];
    const held = await take(holder, key);
    expect((await askOnce(waiter, key)).kind).toBe('busy');
    let told = 0;
    waiter.changes.subscribe((change) => {
      if ('where' in change && change.where(key)) told++;
    });
    await cluster.move([slotOf(key)], to);
    await until(() => told > 0, { what: 'the waiter is told to ask again' });
    expect((await askOnce(waiter, key)).kind).toBe('busy');
    let woken = false;
    waiter.changes.subscribe((change) => (woken ||= 'key' in change && change.key === key));
    await holder.release(held, 0);
    await until(() => woken, { what: 'the waiter heard of the release' });
    await take(waiter, key);
  });

  it('a release follows the slot', async () => {
    const { key, to } = await keyWithMasters();
    const store = stores.open(cluster.connection);
    const held = await take(store, key);
    const from = await cluster.beginMove(slotOf(key), to);
    await cluster.moveKeys(slotOf(key), from, to);
    const released = store.release(held, 0);
    await cluster.endMove(slotOf(key), to);
    expect(await released).toEqual({ kind: 'released', ours: true });
    expect(await store.inspect(key)).toEqual({ kind: 'free' });
  });
});

describe('A lock service on a Cluster', () => {
  it('renews, waits and hands locks over while slots move to and fro', async () => {
    const { key, from, to } = await keyWithMasters();
    const services = [1, 2].map(
      () =>
        new LockService(
          stores.open(cluster.connection),
          lockDefaults({ leaseTime: 1_500, waitTime: 20_000, shutdownTimeout: 1_000, quarantine: 0 }),
        ),
    );
    const [one, other] = services as [LockService, LockService];
    const held = await one.acquire([key, `beside-${key}`]);
    const waiting = other.acquire(key);
    for (let i = 0; i < 6; i++) {
      await cluster.move([slotOf(key)], i % 2 ? from : to);
      await firstValueFrom(one.events.pipe(filter(({ type }) => type === 'renewed')));
    }
    expect(held.held).toBe(true);
    expect(other.held).toEqual([]);
    await held.release();
    const next = await waiting;
    expect(next.fencingToken).toBeGreaterThan(held.fencingToken);
    await next.release();
    for (const service of services) await service.close();
  }, 30_000);
});

describe('A master that joins, and a master that leaves', () => {
  it('take over and give away slots together with the held locks in them', async () => {
    const joined = await cluster.add();
    await cluster.add({ replicaOf: joined });
    const [store, rival] = [stores.open(cluster.connection), stores.open(cluster.connection)];
    const keys = Array.from({ length: 30 }, (_, i) => `traveller-${i}`);
    const held = await Promise.all(keys.map((key) => take(store, key)));
    const owners = await Promise.all(keys.map((key) => cluster.ownerOf(slotOf(key))));
    const check = async (): Promise<void> => {
      const renewals = await Promise.all(held.map((lock) => store.renew(lock, 10_000).outcome));
      expect(renewals.map(({ kind }) => kind)).toEqual(keys.map(() => 'renewed'));
      const rivals = await Promise.all(keys.map((key) => askOnce(rival, key)));
      expect(rivals.map(({ kind }) => kind)).toEqual(keys.map(() => 'busy'));
    };
    const addressesOf = (): string[] => store.health().masters.map(({ address }) => address);

    await cluster.move(keys.map(slotOf), joined);
    await check();
    expect(addressesOf()).toContain(joined.address);

    for (const [i, key] of keys.entries()) await cluster.move([slotOf(key)], owners[i]!);
    await check();
    await until(() => !addressesOf().includes(joined.address), { what: 'the emptied master is let go' });
    expect(store.health().status).toBe('up');
    for (const lock of held) expect(await store.release(lock, 0)).toEqual({ kind: 'released', ours: true });
  }, 40_000);
});

describe('Several keys in several slots', () => {
  it('are taken by two callers that ask in opposite orders, again and again', async () => {
    const [one, other] = [stores.open(cluster.connection), stores.open(cluster.connection)];
    const keys = ['apple', 'bread', 'cheese', 'dates'];
    expect(new Set(await Promise.all(keys.map((key) => cluster.ownerOf(slotOf(key))))).size).toBeGreaterThan(
      1,
    );
    let last = 0;
    const takeAll = async (store: LockStore, order: string[]): Promise<void> => {
      for (let done = 0; done < 15;) {
        const request = requestFor(order);
        const outcome = await store.acquire(request).outcome;
        if (outcome.kind !== 'granted') continue;
        expect(outcome.token).toBeGreaterThan(last);
        last = outcome.token;
        for (const key of order)
          expect(await store.inspect(key)).toMatchObject({ holder: { owner: request.owner, token: last } });
        await store.release({ ...request, token: outcome.token, validity: outcome.validity }, 0);
        done++;
      }
    };
    await Promise.all([takeAll(one, keys), takeAll(other, keys.toReversed())]);
  });

  it('take one request with a common hash tag; otherwise one per slot, and one more per token that must be raised', async () => {
    const store = stores.open(cluster.connection);
    await take(store, ['{warm}a', 'warm-1', 'warm-2', 'warm-3', 'warm-4']);
    const requests = (): number =>
      store.health().masters.reduce((sum, { commits }) => sum + commits.requests, 0);
    const before = requests();
    await take(store, ['{basket}a', '{basket}b', '{basket}c']);
    expect(requests() - before).toBe(1);
    await take(store, ['x-1', 'x-2', 'x-3']);
    expect(requests() - before).toBe(1 + 3 + 2);
  });

  it('leave nothing behind if one of them is not confirmed in time', async () => {
    const store = stores.open(cluster.connection);
    const keys = ['half-1', 'half-2', 'half-3', 'half-4', 'half-5', 'half-6'].toSorted(
      (a, b) => slotOf(a) - slotOf(b),
    );
    await take(
      store,
      keys.map((key) => `warm-${key}`),
    );
    const lastMaster = await cluster.ownerOf(slotOf(keys.at(-1)!));
    const [replica] = await cluster.replicasOf(lastMaster);
    await replica!.stop();
    const outcome = await store.acquire(
      requestFor(keys, { waitUntil: systemClock.monotonic(), replicaTimeout: 300 }),
    ).outcome;
    replica!.resume();
    expect(outcome).toMatchObject({
      kind: 'unconfirmed',
      master: expect.stringContaining(lastMaster.address),
    });
    for (const key of keys) expect(await store.inspect(key)).toEqual({ kind: 'free' });
  });

  it('leave nothing behind if the caller gives up half-way', async () => {
    const store = stores.open(cluster.connection);
    const keys = Array.from({ length: 12 }, (_, i) => `gone-${i}`);
    const warm = await take(store, keys);
    await store.release(warm, 0);
    // Each attempt gets a little further than the attempt before.
    for (let turns = 0; turns < 40; turns++) {
      const attempt = store.acquire(requestFor(keys));
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      attempt.abandon();
    }
    await until(
      async () =>
        (await Promise.all(keys.map((key) => store.inspect(key)))).every(({ kind }) => kind === 'free'),
      { what: 'every key is free' },
    );
  });
});

describe('A connection to a Cluster', () => {
  it('can be an ioredis Cluster, whose options are reused', async () => {
    const client = new Cluster(cluster.connection.nodes, { lazyConnect: true });
    await take(stores.open(client), 'by-instance');
    expect(client.status).toBe('wait');
  });

  it('can be URLs and ports, and one seed is enough', async () => {
    const { port } = cluster.nodes[4]!;
    await take(stores.open({ nodes: [`redis://127.0.0.1:${port}`] }), 'by-url');
    await take(stores.open({ nodes: [port] }), 'by-port');
  });

  it('goes to the addresses that natMap gives', async () => {
    const natMap = Object.fromEntries(
      cluster.nodes.map(({ port }) => [`127.0.0.1:${port}`, { host: 'localhost', port }]),
    );
    const store = stores.open({ ...cluster.connection, options: { natMap } });
    await take(store, 'by-nat');
    for (const { address, replicas } of store.health().masters) {
      expect(address).toMatch(/^localhost:/);
      for (const replica of replicas) expect(replica.address).toMatch(/^127\.0\.0\.1:/);
    }
  });
});
