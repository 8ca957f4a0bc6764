import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { LockUnavailableError, ReplicaLockError } from '../../../../lib/lock/errors.js';
import type { LockEvent } from '../../../../lib/lock/events.js';
import type { Lock } from '../../../../lib/lock/lock.js';
import type { LockService } from '../../../../lib/lock/lock-service.js';
import { createLockService } from '../../../../lib/module/create-lock-service.js';
import type { ReplicaLockModuleOptions } from '../../../../lib/module/options.js';
import { systemClock } from '../../../../lib/common/clock.js';
import { until } from '../../../support/eventually.js';
import { freePort } from '../../../support/ports.js';
import { waitUntilOnline } from '../../../support/replication.js';
import { MASTER_NAME, startSentinels, type SentinelDeployment } from '../../../support/sentinels.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

/** ms: the lease, longer than a fail-over takes, so that held locks survive; and the quarantine. */
const LEASE = 6_000;

const stores = new RedisStores();
const services: LockService[] = [];
let redis: SentinelDeployment;

async function serviceOn(
  deployment: SentinelDeployment,
  options: Partial<ReplicaLockModuleOptions> = {},
): Promise<LockService> {
  const service = await createLockService({
    connection: deployment.connection,
    leaseTime: LEASE,
    quarantine: 0,
    ...options,
  });
  service.open();
  services.push(service);
  return service;
}

function eventsOf<T extends LockEvent['type']>(
  service: LockService,
  type: T,
): Extract<LockEvent, { type: T }>[] {
  const events: Extract<LockEvent, { type: T }>[] = [];
  service.events.subscribe((event) => {
    if (event.type === type) events.push(event as Extract<LockEvent, { type: T }>);
  });
  return events;
}

/** The locks that the server at this address has confirmed again. */
function renewedBy(service: LockService): (address: string) => Set<string> {
  const seen: { key: string; master: string | undefined }[] = [];
  service.events.subscribe((event) => {
    if (event.type === 'renewed') seen.push({ key: event.keys[0]!, master: masterOf(service) });
  });
  return (address) => new Set(seen.filter(({ master }) => master === address).map(({ key }) => key));
}

const masterOf = (service: LockService): string | undefined => service.health().masters[0]?.address;

beforeAll(async () => {
  redis = await startSentinels();
}, 30_000);
afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.close()));
  await stores.closeAll();
  await redis.mend();
}, 30_000);
afterAll(async () => {
  await redis.dispose();
});

describe('When the master dies', () => {
  it('hundreds of held locks go on with its successor, and nothing new is granted before the quarantine ends', async () => {
    const locks = await serviceOn(redis, { quarantine: undefined, waitTime: 0 });
    const before = await redis.master();
    const held = await Promise.all(
      // When the test begins the links are younger than a lease: waiters are served after the
      // quarantine.
      Array.from({ length: 500 }, (_, i) => locks.acquire(`held-${i}`, { waitTime: '20s' })),
    );
    const lost = eventsOf(locks, 'lost');
    const renewed = renewedBy(locks);
    await before.kill();
    // Asks from now on, so that even a busy machine asks before the quarantine is over.
    const refused = until(
      async () => {
        const answer: unknown = await locks.acquire('new').catch((error: unknown) => error);
        return !(answer instanceof ReplicaLockError) || /granted in/.test(answer.message)
          ? answer
          : undefined;
      },
      { within: 30_000, what: 'the new master is asked' },
    );
    const after = await redis.untilPromoted(before);
    await until(() => masterOf(locks) === after.address && locks.health().masters[0]?.connected, {
      what: 'the store follows the new master',
    });
    const refusal = await refused;
    expect(refusal).toBeInstanceOf(LockUnavailableError);
    expect(refusal).toMatchObject({
      message: expect.stringMatching(/Lock 'new' .*granted in \d+ s at the earliest \(option quarantine\)/),
    });
    expect((refusal as LockUnavailableError).retryAfter).toBeGreaterThan(0);
    await until(() => renewed(after.address).size === held.length, {
      what: 'every lock is confirmed by the new master',
    });
    expect(lost).toEqual([]);
    expect(held.every((lock) => lock.held)).toBe(true);
    const [any] = held;
    expect(await locks.inspect(any!.key)).toMatchObject({
      owner: any!.owner,
      fencingToken: any!.fencingToken,
    });

    await using lock = await locks.acquire('new', { waitTime: '20s' });
    expect(lock.confirmedBy).toBe(1);
    expect(lock.fencingToken).toBeGreaterThan(Math.max(...held.map(({ fencingToken }) => fencingToken)));
    expect(await Promise.all(held.map((each) => each.release()))).not.toContain(false);
  }, 60_000);

  it('a lock that its successor never received is lost, its holder is told, and the next token is greater', async () => {
    const locks = await serviceOn(redis, { replicas: 'majority', waitTime: '15s' });
    const before = await redis.master();
    const [behind, confirming] = await redis.replicas();
    await behind!.stop();
    // The link ends before the write, so nothing of the write waits in a socket. The other
    // replica connects again.
    await before.call('CLIENT', 'KILL', 'TYPE', 'replica');
    await waitUntilOnline(before, 1);
    const lock = await locks.acquire('forgotten');
    expect(lock.confirmedBy).toBe(1);
    // The only replica that has the lock dies with the master.
    await Promise.all([before.kill(), confirming!.kill()]);
    behind!.resume();
    expect(await redis.untilPromoted(before, { within: 20_000 })).toBe(behind);
    expect(await behind!.call('GET', 'lock:forgotten')).toBeNull();
    await until(() => lock.signal.aborted, { within: LEASE + 2_000, what: 'the holder is told' });
    expect(lock.held).toBe(false);
    await redis.mend();
    await using next = await locks.acquire('forgotten');
    expect(next.fencingToken).toBeGreaterThan(lock.fencingToken);
  }, 60_000);

  it('a thousand waiters do not overload its successor', async () => {
    const locks = await serviceOn(redis, { leaseTime: '3s', quarantine: '3s', waitTime: '30s' });
    const before = await redis.master();
    await locks.acquire('warm-storm').then((lock) => lock.release());
    await before.kill();
    const waiting = Array.from({ length: 1_000 }, (_, i) => locks.acquire(`waiting-${i % 500}`));
    const after = await redis.untilPromoted(before);
    const served = await Promise.all(waiting.map(async (each) => (await each).release()));
    expect(served).toHaveLength(1_000);
    const stats = await after.info('commandstats');
    const calls = (name: string): number =>
      Number(/calls=(\d+)/.exec(stats[`cmdstat_${name}`] ?? '')?.[1] ?? 0);
    expect(calls('eval') + calls('evalsha')).toBeLessThan(200);
    expect(calls('wait')).toBeLessThan(200);
    const { connected_clients: clients } = await after.info('clients');
    expect(Number(clients)).toBeLessThan(20);
  }, 60_000);

  it('the application can shut down during the fail-over', async () => {
    const locks = await serviceOn(redis, { shutdownTimeout: 500 });
    const lock = await locks.acquire('held-at-the-end');
    const before = await redis.master();
    await before.kill();
    const pending = locks.acquire('never').catch((error: unknown) => error);
    await locks.drain();
    expect(await pending).toMatchObject({ code: 'LOCK_SERVICE_CLOSED' });
    await locks.close();
    expect(lock.held).toBe(false);
    await redis.untilPromoted(before);
  }, 30_000);

  it('and no replica is fit to take over, the error says so, and locks go on when a replica is fit', async () => {
    const locks = await serviceOn(redis, { waitTime: 0 });
    await locks.acquire('before-1').then((lock) => lock.release());
    const before = await redis.master();
    const replicas = await redis.replicas();
    await Promise.all([before.kill(), ...replicas.map((replica) => replica.stop())]);
    await until(() => locks.health().status === 'down', { what: 'the loss is seen' });
    const refusal = await locks.acquire('refused').catch((error: unknown) => error);
    expect(refusal).toMatchObject({
      code: 'LOCK_UNAVAILABLE',
      message: expect.stringContaining(before.address),
    });
    for (const replica of replicas) replica.resume();
    await redis.untilPromoted(before, { within: 25_000 });
    await using lock = await locks.acquire('after', { waitTime: '15s' });
    expect(lock.confirmedBy).toBe(1);
  }, 60_000);
});

describe('When the master hangs and goes on after its successor was chosen', () => {
  it('the old master confirms nothing to its clients', async () => {
    const before = await redis.master();
    const followers = stores.open(redis.connection, { replicas: 'majority' });
    await take(followers, 'warm-2');
    // Like a process without Sentinels, which stays with the old master and knows only observed
    // replicas.
    const stubborn = stores.open(before.url, { replicas: 'majority', replicaTimeout: 300 });
    await take(stubborn, 'warm-3');
    await before.stop();
    await redis.untilPromoted(before);
    before.resume();
    await until(() => stubborn.health().masters[0]?.connected, {
      within: 15_000,
      what: 'it has a connection again',
    });
    const patience = { waitUntil: systemClock.monotonic(), replicaTimeout: 300 };
    const outcome = await stubborn.acquire(requestFor('twice', { ...patience, replicas: 'majority' }))
      .outcome;
    expect(['unconfirmed', 'unavailable']).toContain(outcome.kind);
    granted(
      await followers.acquire(
        requestFor('twice', { replicas: 'majority', waitUntil: systemClock.monotonic() + 10_000 }),
      ).outcome,
    );
  }, 40_000);
});

describe('A replica', () => {
  it('that dies costs no grant, and neither does its return', async () => {
    const locks = await serviceOn(redis, { waitTime: 0, replicaTimeout: '2s' });
    const [replica] = await redis.replicas();
    await locks.acquire('warm-4', { waitTime: '5s' }).then((lock) => lock.release());
    const refused: unknown[] = [];
    const work = { granted: 0, isOver: false };
    const working = (async () => {
      while (!work.isOver) {
        await locks
          .acquire('busy-with-it')
          .then((lock) => (work.granted++, lock.release()))
          .catch((error: unknown) => refused.push(error));
      }
    })();
    await replica!.kill();
    const then = work.granted;
    await until(() => work.granted > then + 50, { what: 'locks are granted without it' });
    await replica!.restart();
    await redis.mend();
    const now = work.granted;
    await until(() => work.granted > now + 50, { what: 'locks are granted with it' });
    work.isOver = true;
    await working;
    expect(refused).toEqual([]);
  }, 40_000);
});

describe('The Sentinels', () => {
  it('may be told to forget the replicas: the number of known replicas stays, and grants go on', async () => {
    const store = stores.open(redis.connection);
    await take(store, 'before-reset');
    const [gone] = await redis.replicas();
    await gone!.kill();
    expect(store.health().masters[0]!.replicas).toHaveLength(2);
    for (const sentinel of redis.sentinels) await sentinel.call('SENTINEL', 'RESET', MASTER_NAME);
    granted(await store.acquire(requestFor('after-reset', { replicas: 'majority' })).outcome);
    expect(store.health().masters[0]!.replicas).toHaveLength(2);
  }, 40_000);

  it('may disagree: a Sentinel that missed the fail-over and names the old master is not followed', async () => {
    const sleepy = redis.sentinels[2]!;
    const store = stores.open(redis.connection, { replicas: 'majority' });
    await take(store, 'before-6');
    const before = await redis.master();
    await sleepy.stop();
    await before.kill();
    await until(async () => (await redis.master()) !== before, {
      within: 15_000,
      what: 'the others name another',
    });
    const after = await redis.master();
    await until(() => store.health().masters[0]?.address === after.address, {
      within: 10_000,
      what: 'the store follows them',
    });
    sleepy.resume();
    granted(
      await store.acquire(
        requestFor('after', { replicas: 'majority', waitUntil: systemClock.monotonic() + 10_000 }),
      ).outcome,
    );
    expect(store.health().masters[0]?.address).toBe(after.address);
  }, 40_000);

  it('may be down after the start: locks go on with the master that they named', async () => {
    const store = stores.open(redis.connection);
    const held = await take(store, 'held-without-them');
    for (const sentinel of redis.sentinels) await sentinel.stop();
    expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    granted(await store.acquire(requestFor('new-without-them')).outcome);
  }, 40_000);

  it('that cannot be reached are each named, with the reason', async () => {
    const port = await freePort();
    const store = stores.open({ sentinels: [{ host: '127.0.0.1', port }], name: MASTER_NAME });
    const outcome = await store.acquire(requestFor('k', { waitUntil: systemClock.monotonic() + 1_500 }))
      .outcome;
    expect(outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(
        new RegExp(`no Sentinel of 'mymaster'.*127\\.0\\.0\\.1:${port}: .*ECONNREFUSED`),
      ),
    });
  });

  it('that know no such master say so, with the option to check', async () => {
    const store = stores.open({ ...redis.connection, name: 'mimaster' });
    const outcome = await store.acquire(requestFor('k', { waitUntil: systemClock.monotonic() + 1_500 }))
      .outcome;
    expect(outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining("knows no master named 'mimaster': check the option name"),
    });
  });

  it('have a password of their own: locks are granted with the password, else the error names the Sentinel', async () => {
    await using guarded = await startSentinels({
      replicas: 1,
      sentinelConfig: { requirepass: 'sesame', 'sentinel sentinel-pass': 'sesame' },
    });
    const store = stores.open({ ...guarded.connection, sentinelPassword: 'sesame' });
    granted(await store.acquire(requestFor('guarded')).outcome);
    const stranger = stores.open(guarded.connection);
    const outcome = await stranger.acquire(requestFor('no', { waitUntil: systemClock.monotonic() + 3_000 }))
      .outcome;
    expect(outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/Redis at 127\.0\.0\.1:\d+ refused: NOAUTH .*password/),
    });
    const wrong = stores.open({ ...guarded.connection, sentinelPassword: 'simsim' });
    const refused = await wrong.acquire(requestFor('no', { waitUntil: systemClock.monotonic() + 3_000 }))
      .outcome;
    expect(refused).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/WRONGPASS|invalid/),
    });
    await stores.closeAll();
  }, 40_000);

  it('work behind address translation: natMap is taken over', async () => {
    const map = new Map(
      redis.servers.map((server) => [server.address, { host: 'localhost', port: server.port }]),
    );
    const store = stores.open({ ...redis.connection, natMap: (address: string) => map.get(address) ?? null });
    granted(await store.acquire(requestFor('translated')).outcome);
    expect(store.health().masters[0]?.address).toMatch(/^localhost:/);
  });
});

describe('The master itself', () => {
  it('can be handed over by command: held locks go on', async () => {
    const locks = await serviceOn(redis);
    const held: Lock = await locks.acquire('handed-over');
    const renewed = renewedBy(locks);
    const after = await redis.handOver();
    await until(() => masterOf(locks) === after.address, { within: 10_000, what: 'the store follows' });
    await until(() => renewed(after.address).has('handed-over'), { what: 'the lock is confirmed there' });
    expect(held.held).toBe(true);
    expect(await held.release()).toBe(true);
  }, 40_000);
});

describe('The holders of a key with a limit', () => {
  it('are still inside after the master died, and its successor lets no more in', async () => {
    const locks = await serviceOn(redis, { waitTime: 0 });
    const [first, second] = [
      await locks.acquire('limited', { limit: 2 }),
      await locks.acquire('limited', { limit: 2 }),
    ];
    const before = await redis.master();
    const renewed = renewedBy(locks);
    await before.kill();
    const after = await redis.untilPromoted(before);
    await until(() => renewed(after.address).has('limited'), { what: 'the holders are confirmed there' });
    const third = await locks.acquire('limited', { limit: 2 }).catch((error: unknown) => error);
    expect(third).toMatchObject({ code: 'LOCK_CONTENDED', holders: 2 });
    const owners = (await locks.inspectAll('limited')).map(({ owner }) => owner);
    expect(owners.toSorted()).toEqual([first.owner, second.owner].toSorted());
    expect(await first.release()).toBe(true);
    const next = await locks.acquire('limited', { limit: 2, waitTime: '10s' });
    expect(next.fencingToken).toBeGreaterThan(second.fencingToken);
    expect(second.held).toBe(true);
  }, 40_000);
});

// This test comes last: from now on the Sentinels name a replica that is gone.
describe('A replica', () => {
  it('that is replaced under a new address counts beside the lost replica, until the lost one is forgotten', async () => {
    const store = stores.open(redis.connection, { replicas: 'majority' });
    const [gone] = await redis.replicas();
    await take(store, 'before-5');
    await gone!.kill();
    const fresh = await redis.addReplica();
    await until(
      () =>
        store
          .health()
          .masters[0]?.replicas.some(({ address, lag }) => address === fresh.address && lag !== null),
      { within: 10_000, what: 'the new replica is seen' },
    );
    const replicas = store.health().masters[0]!.replicas;
    expect(replicas).toHaveLength(3);
    expect(replicas.find(({ address }) => address === gone!.address)).toMatchObject({ lag: null });
    // Of three known replicas a majority of the servers is two.
    const outcome = granted(
      await store.acquire(requestFor('with-the-new-one', { replicas: 'majority' })).outcome,
    );
    expect(outcome.confirmedBy).toBe(2);
  }, 40_000);
});
