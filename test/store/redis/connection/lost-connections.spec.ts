import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { LockService } from '../../../../lib/lock/lock-service.js';
import { systemClock } from '../../../../lib/common/clock.js';
import { until } from '../../../support/eventually.js';
import { Link } from '../../../support/link.js';
import type { LinkConnection } from '../../../support/link-connection.js';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { linkedStores, type LinkedStores } from './linked-stores.js';
import { RedisStore } from '../../../../lib/store/redis/redis-store.js';
import { checkOwnerScript } from '../../../../lib/store/redis/scripts/check-owner.js';
import { redisOptions, RedisStores } from '../redis-stores.js';
import { lockDefaults } from '../../../support/lock-defaults.js';

const defaults = lockDefaults({ leaseTime: 10_000, waitTime: Infinity, shutdownTimeout: 100, quarantine: 0 });
const stores = new RedisStores();
const openStores = linkedStores(stores);
let redis: LinkedStores['redis'];
let link: LinkedStores['link'];
let store: LinkedStores['store'];
let direct: LinkedStores['direct'];

beforeEach(async () => {
  ({ redis, link, store, direct } = await openStores());
});

/** How many WAITs the server has begun. */
async function waitsOf(server: RedisProcess): Promise<number> {
  return Number(/calls=(\d+)/.exec((await server.info('commandstats'))['cmdstat_wait'] ?? '')?.[1] ?? 0);
}

describe('When the connection is lost before the answer', () => {
  it('asks again as the same owner, and does not wait for its own earlier write', async () => {
    link.dropReplies();
    const request = requestFor('answer-lost');
    const start = systemClock.monotonic();
    const pending = store.acquire(request).outcome;
    await until(async () => (await direct.inspect('answer-lost')).kind === 'held', {
      what: 'the script has run',
    });
    link.cut();
    granted(await pending);
    expect(systemClock.monotonic() - start).toBeLessThan(5_000);
    expect(await direct.inspect('answer-lost')).toMatchObject({ holder: { owner: request.owner } });
  });

  it('keeps the key free if the caller had given up before the server ran the script', async () => {
    await redis.master.stop();
    const attempt = store.acquire(requestFor('ghost'));
    // The script is in the server's socket now. The connection and the caller end, and then the
    // server goes on.
    await until(() => link.connections.size > 0, { what: 'the connection stands' });
    await new Promise((resolve) => setImmediate(resolve));
    link.cut();
    attempt.abandon();
    redis.master.resume();
    granted(await direct.acquire(requestFor('after-ghost')).outcome);
    await until(async () => (await direct.inspect('ghost')).kind === 'free', {
      within: 4_000,
      what: 'no ghost holds the key',
    });
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected again' });
    expect((await direct.inspect('ghost')).kind).toBe('free');
  });
});

describe('A script that the server has not read when its connection is given up', () => {
  it('never runs: the server ends that connection before it gets other commands', async () => {
    const accepted = link.accepted;
    for (const connection of link.connections) connection.stall('requests');
    const impatient = { waitUntil: systemClock.monotonic(), replicaTimeout: 300 };
    expect((await store.acquire(requestFor('late', impatient)).outcome).kind).toBe('unavailable');
    await until(() => link.accepted >= accepted + 3 && store.health().masters[0]?.connected, {
      what: 'the store is connected anew',
    });
    await take(store, 'after-late');
    // Now the server gets the script that was held back, and then the end of those connections.
    link.resume();
    await until(() => link.connections.size === 3, { what: 'the old connections have ended' });
    expect(await direct.inspect('late')).toEqual({ kind: 'free' });
  });
});

describe('An attempt that is given up while its script is on the way', () => {
  it('is taken back behind its script and not before', async () => {
    let commit: LinkConnection | undefined;
    void link.beforeReply('flags=S', (connection) => {
      commit = connection;
    });
    await take(store, 'find-the-commit-connection');
    commit!.stall('requests');
    const attempt = store.acquire(requestFor('given-up'));
    await new Promise((resolve) => setImmediate(resolve));
    attempt.abandon();
    // The other connection is free: everything that was sent on it has been answered.
    expect(await store.inspect('given-up')).toEqual({ kind: 'free' });
    commit!.resume();
    await take(store, 'behind-it');
    await until(async () => (await direct.inspect('given-up')).kind === 'free', {
      within: 3_000,
      what: 'the key is free',
    });
  });
});

describe('When the connection is lost between the script’s answer and WAIT’s', () => {
  it('counts nothing of the lost connection, and asks again as the same owner', async () => {
    await Promise.all(redis.replicas.map((replica) => replica.stop()));
    const request = requestFor('wait-lost', {
      replicaTimeout: 8_000,
      leaseTime: 20_000,
      waitUntil: systemClock.monotonic() + 8_000,
    });
    const pending = store.acquire(request).outcome;
    await until(async () => (await direct.inspect('wait-lost')).kind === 'held', {
      what: 'the script has run',
    });
    let isSettled = false;
    void pending.then(() => (isSettled = true));
    link.cut();
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected again' });
    // A WAIT on the new connection has ended, and confirmed nothing that the old connection wrote.
    const waits = await waitsOf(redis.master);
    await until(async () => (await waitsOf(redis.master)) >= waits + 2, { what: 'a whole WAIT has passed' });
    expect(isSettled).toBe(false);
    for (const replica of redis.replicas) replica.resume();
    expect(granted(await pending).confirmedBy).toBe(2);
    expect(await direct.inspect('wait-lost')).toMatchObject({ holder: { owner: request.owner } });
  });
});

describe('When the connection is lost during a renewal', () => {
  it('renews on the next connection', async () => {
    const held = await take(store, 'renewing');
    link.dropReplies();
    const renewal = store.renew(held, 10_000).outcome;
    link.cut();
    expect(await renewal).toMatchObject({ kind: 'renewed' });
  });
});

describe('When only the commit connection has died, without notice', () => {
  it('a waiter that checks a renewal does not miss the release', async () => {
    const waiting = new LockService(stores.open(link.url), { ...defaults, leaseTime: 900 });
    await (await waiting.acquire('warm-dead')).release();
    const held = await take(direct, 'dead');
    let isDead = false;
    void link.beforeRequest(checkOwnerScript.lua, (commit) => {
      commit.stall();
      isDead = true;
    });
    const pending = waiting.acquire('dead');
    // The waiter checks the key after two renewals that are a third of its own lease apart.
    const renewAtItsPace = async (): Promise<boolean> => {
      expect(await direct.renew(held, held.leaseTime).outcome).toMatchObject({ kind: 'renewed' });
      await sleep(300);
      return isDead;
    };
    await until(renewAtItsPace, { within: 10_000, what: 'the waiter looks' });
    await direct.release(held, 0);
    await using lock = await pending;
    expect(lock.held).toBe(true);
  });
});

describe('While nothing is locked', () => {
  it('the connections outlive the server’s timeout for idle clients', async () => {
    await redis.master.call('CONFIG', 'SET', 'timeout', 1);
    try {
      const accepted = link.accepted;
      // Clients that really are idle show that the server has checked, twice.
      for (let i = 0; i < 2; i++) {
        const idle = redis.master.client();
        await idle.ping();
        await new Promise((resolve) => idle.once('end', resolve));
      }
      expect(link.accepted).toBe(accepted);
    } finally {
      await redis.master.call('CONFIG', 'SET', 'timeout', 0);
    }
  });

  it('a commit connection that died silently is noticed', async () => {
    let commit: LinkConnection | undefined;
    void link.beforeReply('flags=S', (connection) => (commit = connection));
    await take(store, 'find-the-silent-one');
    const accepted = link.accepted;
    commit!.stall();
    await until(() => link.accepted >= accepted + 3 && store.health().masters[0]?.connected, {
      what: 'the store is connected anew',
    });
    granted(await store.acquire(requestFor('first-after-it', { waitUntil: 0 })).outcome);
  });
});

describe('A release', () => {
  it('is sent again on the next connection if the first never reached the server', async () => {
    const held = await take(store, 'release-again');
    link.stall('requests');
    const released = store.release(held, 0);
    await new Promise((resolve) => setImmediate(resolve));
    link.cut();
    link.resume();
    expect(await released).toEqual({ kind: 'released', ours: true });
    expect((await direct.inspect('release-again')).kind).toBe('free');
  });

  it('reports in time that no answer came, and is sent again in the background', async () => {
    const held = await take(store, 'release-late');
    link.onConnection((connection) => connection.cut());
    link.cut();
    const outcome = await store.release(held, 0);
    expect(outcome).toMatchObject({ kind: 'unavailable', reason: expect.stringContaining('sent again') });
    link.onConnection(() => {});
    await until(async () => (await direct.inspect('release-late')).kind === 'free', {
      what: 'it was released',
    });
  });
});

describe('After a new connection', () => {
  it('the store reports that any key may have changed', async () => {
    const told: string[] = [];
    store.changes.subscribe((change) => {
      if ('every' in change) told.push(change.isUnreachable === true ? 'lost' : 'found again');
    });
    link.cut();
    await until(() => told.length > 1, { what: 'every key is to be looked at' });
    expect(told.slice(0, 2)).toEqual(['lost', 'found again']);
  });

  it('the store reports the same if only the connection for notices was lost, and locks go on', async () => {
    let told = 0;
    store.changes.subscribe((change) => (told += 'every' in change && change.isUnreachable !== true ? 1 : 0));
    await redis.master.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until(() => told > 0, { what: 'every key is to be looked at' });
    await take(store, 'after-the-watcher');
  });

  it('the store does not use a connection that was lost during the set-up', async () => {
    // The last answer of the set-up is late: the other connections have ended before.
    void link.beforeReply('flags=S', (last) => {
      last.stall('replies');
      for (const connection of link.connections) if (connection !== last) connection.cut();
      setTimeout(() => last.resume(), 50);
    });
    link.cut();
    granted(await store.acquire(requestFor('half-made')).outcome);
  });

  it('health() still has the reason of the last failure while the store tries again', async () => {
    link.onConnection((connection) => connection.cut());
    const unlucky = stores.open(link.url);
    const reason = (): string | undefined => unlucky.health().masters[0]!.reason;
    await until(() => reason()?.includes('cannot be used'), { what: 'the first try failed' });
    let stalled = 0;
    link.onConnection((connection) => {
      connection.stall();
      stalled++;
    });
    await until(() => stalled >= 3, { what: 'it tries again' });
    expect(reason()).toMatch(/cannot be used/);
    link.onConnection(() => {});
    link.cut();
    granted(await unlucky.acquire(requestFor('at-last')).outcome);
  });

  it('the store leaves nothing behind in the server when it is closed', async () => {
    await stores.closeAll();
    await until(
      async () => !String(await redis.master.call('CLIENT', 'LIST')).includes('name=replica-lock:'),
      { what: 'our connections are gone' },
    );
  });
});

describe('A store that is closed', () => {
  it('does not wait for a hung server as long as a confirmation may take', async () => {
    const patient = stores.open(redis.url, { replicaTimeout: 30_000 });
    await take(patient, 'before');
    await redis.master.stop();
    const attempt = patient.acquire(requestFor('hung', { replicaTimeout: 30_000 }));
    await until(() => patient.health().masters[0]!.commits.requests === 2, { what: 'the request was sent' });
    const start = performance.now();
    await patient.close();
    redis.master.resume();
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(await attempt.outcome).toMatchObject({ kind: 'unavailable', reason: 'The lock store is closed.' });
  });

  it('leaves no timer behind if its connections are cut while they are made', async () => {
    const timers = (): number =>
      process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
    await stores.closeAll();
    await link.dispose();
    let before = Infinity;
    // Everything that earlier tests left open must end first.
    await until(() => before === (before = timers()), { what: 'nothing changes any more' });
    link = await Link.to(redis.master);
    link.onConnection((connection) => connection.cut());
    const unlucky = new RedisStore(redisOptions(link.url));
    unlucky.open();
    await until(() => unlucky.health().masters[0]!.reason?.includes('cannot be used'), {
      what: 'a connection was lost',
    });
    await unlucky.close();
    await until(() => timers() <= before, { within: 1_000, what: 'its timers are gone' });
  });
});

describe('A server', () => {
  it('that is down at the start is found after its own start', async () => {
    const server = await startRedis();
    await server.kill();
    const early = stores.open(server.url, { allowNoReplicas: true });
    const at = requestFor('early', { waitUntil: systemClock.monotonic(), replicaTimeout: 300 });
    expect(await early.acquire(at).outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining(`Redis at ${server.address}`),
    });
    const pending = early.acquire(requestFor('early')).outcome;
    await server.restart();
    granted(await pending);
    await stores.closeAll();
    await server.dispose();
  });

  it('that comes back empty has lost the lock, and the renewal tells the holder', async () => {
    const server = await startRedis();
    const single = stores.open(server.url, { allowNoReplicas: true });
    const held = await take(single, 'forgotten');
    await server.restart();
    expect(await single.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key: 'forgotten' });
    await stores.closeAll();
    await server.dispose();
  });

  it('that hangs is given up, and found again when it goes on', async () => {
    await redis.master.stop();
    const outcome = await direct.acquire(requestFor('hang', { waitUntil: systemClock.monotonic() })).outcome;
    expect(outcome.kind).toBe('unavailable');
    await until(() => direct.health().masters[0]?.connected === false, { what: 'the server was given up' });
    redis.master.resume();
    granted(await direct.acquire(requestFor('hang', { waitUntil: systemClock.monotonic() + 8_000 })).outcome);
  });
});
