import { networkInterfaces } from 'node:os';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { AcquireOutcome, LockStore } from '../../../../lib/store/lock-store.js';
import { systemClock } from '../../../../lib/common/clock.js';
import { refusedBy } from '../../../../lib/store/redis/connection/error-replies.js';
import { ErrorReply } from '../../../../lib/store/redis/resp.js';
import { until } from '../../../support/eventually.js';
import { startRedis } from '../../../support/redis-process.js';
import { startReplication, waitUntilOnline } from '../../../support/replication.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
const single = { allowNoReplicas: true } as const;

afterEach(async () => {
  await stores.closeAll();
});

/** Asks once, without waiting. */
function askOnce(store: LockStore, key = 'k'): Promise<AcquireOutcome> {
  return store.acquire(requestFor(key, { waitUntil: systemClock.monotonic(), replicaTimeout: 500 })).outcome;
}

function reasonOf(outcome: AcquireOutcome): string {
  return outcome.kind === 'unavailable' ? outcome.reason : outcome.kind;
}

describe('An error names the server that refused, its answer, and what to do', () => {
  it('NOREPLICAS', async () => {
    await using server = await startRedis({ 'min-replicas-to-write': 2 });
    expect(await askOnce(stores.open(server.url, single))).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: NOREPLICAS.*min-replicas-to-write/),
    });
    await stores.closeAll();
  });

  it('OOM', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    await take(store, 'before');
    await server.call('CONFIG', 'SET', 'maxmemory', 1);
    expect(await askOnce(store)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: OOM.*maxmemory/),
    });
    await stores.closeAll();
  });

  it('READONLY: the master has become a replica', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url);
    await take(store, 'before');
    await redis.master.call('REPLICAOF', '127.0.0.1', redis.replica(0).port);
    await until(
      async () => {
        const outcome = await askOnce(store);
        return outcome.kind === 'unavailable' && /replica/.test(outcome.reason);
      },
      { what: 'the store says that it speaks to a replica' },
    );
    await stores.closeAll();
  });

  it('NOAUTH and WRONGPASS, at once and without asking again', async () => {
    await using server = await startRedis({ requirepass: 'secret' });
    const without = stores.open(server.url, single);
    await until(() => without.health().masters[0]?.reason?.includes('NOAUTH'), {
      what: 'the reason is known',
    });
    expect(await without.acquire(requestFor('k')).outcome).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: `Redis at ${server.address} refused: NOAUTH Authentication required. Give the connection a password (and a username if ACLs are used).`,
    });
    const wrong = stores.open(`redis://:wrong@${server.address}`, single);
    expect(await wrong.acquire(requestFor('k')).outcome).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/refused: WRONGPASS [^.]*\. Check the username and password/),
    });
    await until(() => stores.reports.filter(({ code }) => code === 'unreachable').length === 2, {
      what: 'both were reported',
    });
    for (const { message } of stores.reports.filter(({ code }) => code === 'unreachable'))
      expect(message).toMatch(/\. Locks are refused until that is mended\.$/);
    const right = stores.open(`redis://:secret@${server.address}`, single);
    granted(await right.acquire(requestFor('k')).outcome);
    await stores.closeAll();
  });

  it('a Sentinel instead of a server', async () => {
    await using sentinel = await startRedis({}, 'sentinel');
    const store = stores.open(sentinel.url, single);
    expect(await askOnce(store)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/it is a Sentinel.*\{ sentinels: \[.*name/),
    });
    await stores.closeAll();
  });

  it('a node of a Redis Cluster without nodes, to every caller at once', async () => {
    await using node = await startRedis({ 'cluster-enabled': 'yes' }, 'cluster');
    await node.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
    const store = stores.open(node.url, single);
    const asked = Array.from({ length: 5 }, (_, i) => store.acquire(requestFor(`k${i}`)).outcome);
    for (const outcome of await Promise.all(asked)) {
      expect(outcome).toMatchObject({
        kind: 'unavailable',
        permanent: true,
        reason:
          `Redis at ${node.address} cannot be used: ` +
          'it is a node of a Redis Cluster: give the connection as { nodes: [{ host, port }] }.',
      });
    }
    expect(await store.inspect('k0')).toMatchObject({ kind: 'unavailable', permanent: true });
    expect(store.health()).toMatchObject({ masters: [{ reason: expect.stringContaining('{ nodes: [') }] });
    await stores.closeAll();
  });

  it('a server outside a Cluster that was given as nodes, to every caller at once', async () => {
    await using server = await startRedis();
    const store = stores.open({ nodes: [{ host: '127.0.0.1', port: server.port }] }, single);
    const asked = Array.from({ length: 5 }, (_, i) => store.acquire(requestFor(`k${i}`)).outcome);
    for (const outcome of await Promise.all(asked)) {
      expect(outcome).toMatchObject({
        kind: 'unavailable',
        permanent: true,
        reason: expect.stringContaining(
          `${server.address}: the server is not a Redis Cluster node: connect to it without`,
        ),
      });
    }
    await stores.closeAll();
  });

  it('a replica instead of its master, at once', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.replica(0).url);
    expect(await store.acquire(requestFor('k')).outcome).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/is no master but a replica: point the connection to the master/),
    });
    // After its promotion the replica is accepted.
    await redis.replica(0).call('REPLICAOF', 'NO', 'ONE');
    await redis.master.call('REPLICAOF', '127.0.0.1', redis.replica(0).port);
    await waitUntilOnline(redis.replica(0), 1);
    await until(async () => (await askOnce(store)).kind === 'granted', { what: 'locks are granted' });
    await stores.closeAll();
  });

  it('LOADING, until the server has loaded its data', async () => {
    // Loading 1,000 keys takes a millisecond each, and the server answers in between.
    await using server = await startRedis({
      'key-load-delay': 1_000,
      'loading-process-events-interval-bytes': 1_024,
    });
    await server.call('DEBUG', 'POPULATE', 1_500, 'key', 100);
    await server.call('SAVE');
    const store = stores.open(server.url, single);
    await take(store, 'before');
    const restarted = server.restart({ data: 'kept' });
    const reasons = new Set<string>();
    await until(
      async () => {
        const outcome = await askOnce(store, 'while-loading');
        if (outcome.kind === 'unavailable') reasons.add(outcome.reason);
        return outcome.kind === 'granted';
      },
      { within: 12_000, what: 'locks are granted again' },
    );
    expect([...reasons]).toContainEqual(expect.stringMatching(/refused: LOADING.*starting up/));
    await restarted;
    await stores.closeAll();
  });

  it('the database of the option db, and takes no lock in database 0 instead', async () => {
    await using server = await startRedis();
    const store = stores.open({ host: '127.0.0.1', port: server.port, db: 99 }, single);
    expect(await store.acquire(requestFor('k')).outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: ERR DB index is out of range\. .*option db/),
      permanent: true,
    });
    expect(await server.call('EXISTS', 'lock:k')).toBe(0);
    await stores.closeAll();
  });

  it('a user without the right to choose the database in which another user holds the lock', async () => {
    await using server = await startRedis({ user: 'clerk on nopass ~* &* +@all -select' });
    const address = { host: '127.0.0.1', port: server.port, db: 3 };
    await take(stores.open(address, single), 'k');
    const clerk = stores.open({ ...address, username: 'clerk', password: 'any' }, single);
    expect(await askOnce(clerk)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: NOPERM .*select.*the commands and keys that the documentation/),
    });
    await stores.closeAll();
  });

  it('SELECT while a long script of another program runs, and is asked again in that database', async () => {
    await using server = await startRedis({ 'busy-reply-threshold': 1 });
    const script = server
      .client()
      .eval("while true do redis.call('TIME') end", 0)
      .catch(() => {});
    await until(
      async () => /BUSY/.test(String(await server.call('GET', 'x').catch((e: Error) => e.message))),
      {
        what: 'the script blocks the server',
      },
    );
    const store = stores.open({ host: '127.0.0.1', port: server.port, db: 3 }, single);
    await until(async () => /BUSY/.test(reasonOf(await askOnce(store))), { what: 'the store is told so' });
    await server.call('SCRIPT', 'KILL');
    await script;
    granted(await store.acquire(requestFor('k')).outcome);
    expect(await server.client({ db: 3 }).exists('lock:k')).toBe(1);
    await stores.closeAll();
  });

  it('SELECT in a Cluster and at a Sentinel, with the connection to give instead', async () => {
    await using node = await startRedis({ 'cluster-enabled': 'yes' }, 'cluster');
    await using sentinel = await startRedis({}, 'sentinel');
    for (const [{ port }, advice] of [
      // Valkey 9 has databases in a Cluster, but only one by default.
      [node, /give the connection as \{ nodes|change the option db/],
      [sentinel, /give the connection as \{ sentinels/],
    ] as const) {
      const store = stores.open({ host: '127.0.0.1', port, db: 3 }, single);
      expect(reasonOf(await store.acquire(requestFor('k')).outcome)).toMatch(advice);
    }
    await stores.closeAll();
  });

  it('one client more than maxclients, until another client has left', async () => {
    await using server = await startRedis({ maxclients: 3 });
    const other = server.client();
    await other.ping();
    const store = stores.open(server.url, single);
    await until(
      async () =>
        /refused: ERR max number of clients reached\. .*maxclients/.test(reasonOf(await askOnce(store))),
      {
        what: 'the store is told so',
      },
    );
    other.disconnect();
    granted(await store.acquire(requestFor('k')).outcome);
    await stores.closeAll();
  });

  const host = Object.values(networkInterfaces())
    .flat()
    .find((each) => each?.family === 'IPv4' && !each.internal)?.address;
  (host === undefined ? it.skip : it)('a client of another host, in protected mode', async () => {
    await using server = await startRedis({ bind: '0.0.0.0', 'protected-mode': 'yes' });
    const store = stores.open({ host: host!, port: server.port }, single);
    expect(await store.acquire(requestFor('k')).outcome).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/refused: DENIED [^.]+\. Give the server a password/),
    });
    await stores.closeAll();
  });

  it('no EVAL', async () => {
    await using server = await startRedis({ 'rename-command': ['EVAL ""', 'EVALSHA ""'] });
    expect(await askOnce(stores.open(server.url, single))).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/unknown command.*lacks a command/i),
    });
    await stores.closeAll();
  });

  it('no WAIT, which a server without replicas does not need', async () => {
    const config = { user: 'clerk on nopass ~* &* +@all -wait' };
    await using redis = await startReplication({ replicas: 1, config });
    const store = stores.open(`redis://clerk:any@${redis.master.address}`);
    expect(await store.acquire(requestFor('k')).outcome).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/refused: NOPERM .*wait.*the commands and keys/),
    });
    await using alone = await startRedis(config);
    granted(await stores.open(`redis://clerk:any@${alone.address}`, single).acquire(requestFor('k')).outcome);
    await stores.closeAll();
  });

  it('a key that an ACL forbids', async () => {
    await using server = await startRedis();
    await server.call('ACL', 'SETUSER', 'shop', 'on', '>pw', '~lock:shop:*', '&*', '+@all');
    const store = stores.open(`redis://shop:pw@${server.address}`, single);
    granted(await store.acquire(requestFor('shop:1')).outcome);
    const refused = await askOnce(store, 'bank:1');
    expect(refused).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringContaining('refused'),
    });
    await stores.closeAll();
  });

  it('a server that may evict locks, also to callers that asked before it was connected', async () => {
    await using server = await startRedis({ maxmemory: '50mb', 'maxmemory-policy': 'allkeys-lru' });
    const store = stores.open(server.url, { allowNoReplicas: true });
    expect(await store.acquire(requestFor('early')).outcome).toMatchObject({
      kind: 'misconfigured',
      option: 'allowEviction',
    });
    await stores.closeAll();
  });

  it('a server that may evict locks, unless the user allows eviction', async () => {
    await using server = await startRedis({ maxmemory: '50mb', 'maxmemory-policy': 'allkeys-lru' });
    const store = stores.open(server.url, single);
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected' });
    expect(await askOnce(store)).toMatchObject({
      kind: 'misconfigured',
      option: 'allowEviction',
      reason: expect.stringContaining('allkeys-lru'),
    });
    expect(store.health()).toMatchObject({ status: 'degraded' });
    granted(
      await stores.open(server.url, { ...single, allowEviction: true }).acquire(requestFor('k')).outcome,
    );
    await stores.closeAll();
  });
});

describe('A refusal', () => {
  const at = { host: '10.0.0.1', port: 6379 };
  it.each([
    ['LOADING Redis is loading the dataset in memory', /starting up/, undefined],
    ['MISCONF Redis is configured to save RDB snapshots', /cannot save/, undefined],
    ['BUSY Redis is busy running a script.', /SCRIPT KILL/, undefined],
    ['NOAUTH Authentication required.', /password/, true],
    ["NOPERM this user has no permissions to run the 'eval' command", /documentation lists/, true],
    ["ERR unknown command 'EVAL'", /lacks a command/, true],
    ['ERR something new', /log/, undefined],
  ])('%s', (message, advice, permanent) => {
    const outcome = refusedBy(at, new ErrorReply(message));
    expect(outcome.reason).toMatch(/^Redis at 10\.0\.0\.1:6379 refused: /);
    expect(outcome.reason).toMatch(advice);
    expect(outcome.permanent).toBe(permanent);
  });
});
