import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { LockService } from '../../../../lib/lock/lock-service.js';
import type { LockEvent } from '../../../../lib/lock/events.js';
import type { HeldKeys, LockStore, ReleaseOutcome } from '../../../../lib/store/lock-store.js';
import { ReleaseOutbox } from '../../../../lib/store/redis/commit/release-outbox.js';
import { RedisStore } from '../../../../lib/store/redis/redis-store.js';
import type { RedisConnection, RedisStoreOptions } from '../../../../lib/store/redis/options.js';
import type { Session } from '../../../../lib/store/redis/connection/session.js';
import { startCluster, type TestCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import { Link } from '../../../support/link.js';
import { ManualClock } from '../../../support/manual-clock.js';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { startReplication, type Replication } from '../../../support/replication.js';
import { startSentinels } from '../../../support/sentinels.js';
import { granted, requestFor, take } from '../../contract.js';
import { redisOptions, RedisStores } from '../redis-stores.js';
import { lockDefaults } from '../../../support/lock-defaults.js';

const defaults = lockDefaults({ leaseTime: 10_000, quarantine: Infinity, shutdownTimeout: 100 });
const single = { allowNoReplicas: true } as const;
const RELEASED: ReleaseOutcome = { kind: 'released', ours: true };
const stores = new RedisStores();
const services: LockService[] = [];

afterEach(async () => {
  await Promise.all(services.splice(0).map((locks) => locks.close()));
  await stores.closeAll();
});

/** A service of its own, and its events. */
function open(
  connection: RedisConnection,
  overrides: Partial<RedisStoreOptions> = {},
): { locks: LockService; events: LockEvent[] } {
  const store = new RedisStore(redisOptions(connection, overrides));
  const locks = new LockService(store, { ...defaults, ...overrides });
  const events: LockEvent[] = [];
  locks.events.subscribe((event) => events.push(event));
  locks.open();
  services.push(locks);
  return { locks, events };
}

function typesOf(events: readonly LockEvent[]): string[] {
  return events.map(({ type }) => type);
}

describe('A release whose answer was lost', () => {
  let redis: Replication;
  let link: Link;
  let direct: LockStore;

  beforeAll(async () => {
    redis = await startReplication({ replicas: 1 });
  });
  beforeEach(async () => {
    link = await Link.to(redis.master);
    direct = stores.open(redis.url);
  });
  afterEach(() => link.dispose());
  afterAll(() => redis.dispose());

  /**
   * Loses the answer to `release`, whose script has run. `meanwhile` happens before the next try.
   */
  async function losingTheAnswer<T>(
    key: string,
    release: () => Promise<T>,
    meanwhile: () => Promise<unknown> = () => Promise.resolve(),
  ): Promise<T> {
    link.dropReplies();
    const released = release();
    await until(
      async () => {
        const found = await direct.inspect(key);
        return found.kind === 'free' || (found.kind === 'held' && found.holder.inCooldown);
      },
      { what: 'the script has run' },
    );
    await meanwhile();
    link.cut();
    return released;
  }

  it('is no loss: release() resolves to true', async () => {
    const { locks, events } = open(link.url);
    const lock = await locks.acquire('answer');
    expect(await losingTheAnswer('answer', () => lock.release())).toBe(true);
    expect(typesOf(events)).toEqual(['acquired', 'released']);
  });

  it('is no loss for work that was done', async () => {
    const { locks, events } = open(link.url);
    let end: ((result: string) => void) | undefined;
    const work = locks.withLock('work', () => new Promise<string>((resolve) => (end = resolve)));
    await until(() => end, { what: 'the lock is held' });
    const result = await losingTheAnswer('work', () => {
      end!('done');
      return work;
    });
    expect(result).toBe('done');
    expect(typesOf(events)).not.toContain('lost');
  });

  it('is no loss of several keys', async () => {
    const { locks, events } = open(link.url);
    const lock = await locks.acquire(['several-1', 'several-2', 'several-3']);
    expect(await losingTheAnswer('several-3', () => lock.release())).toBe(true);
    expect(typesOf(events)).toEqual(['acquired', 'released']);
  });

  it('is no loss if the next holder has taken the key meanwhile, and leaves the key to that holder', async () => {
    const { locks, events } = open(link.url);
    const lock = await locks.acquire('next');
    let next = '';
    const released = await losingTheAnswer(
      'next',
      () => lock.release(),
      async () => (next = (await take(direct, 'next')).owner),
    );
    expect(released).toBe(true);
    expect(typesOf(events)).toEqual(['acquired', 'released']);
    expect(await direct.inspect('next')).toMatchObject({ kind: 'held', holder: { owner: next } });
  });

  it('is no loss if the key is gone meanwhile', async () => {
    const { locks, events } = open(link.url);
    const lock = await locks.acquire('gone');
    const released = await losingTheAnswer(
      'gone',
      () => lock.release(),
      () => redis.master.call('DEL', 'lock:gone'),
    );
    expect(released).toBe(true);
    expect(typesOf(events)).toEqual(['acquired', 'released']);
  });

  it.each([
    ['within the lease', 5_000],
    ['beyond the lease', 20_000],
  ])(
    'is no loss of a key that minHoldTime keeps busy %s, and does not prolong that time',
    async (_, minHoldTime) => {
      const { locks, events } = open(link.url);
      const lock = await locks.acquire('kept', { minHoldTime });
      const asked = performance.now();
      const released = await losingTheAnswer(
        'kept',
        () => lock.release(),
        () => until(() => performance.now() - asked > 300, { what: 'some time has passed' }),
      );
      expect(released).toBe(true);
      const left = Number(await redis.master.call('PTTL', 'lock:kept'));
      expect(left).toBeLessThanOrEqual(minHoldTime - 300);
      expect(left).toBeGreaterThan(minHoldTime - 5_000);
      expect(typesOf(events)).toEqual(['acquired', 'released']);
      await direct.forceRelease('kept');
    },
  );

  it('is a loss if it was the first try and another program had taken the key before', async () => {
    const { locks, events } = open(link.url);
    const lock = await locks.acquire('taken');
    await redis.master.call('SET', 'lock:taken', 'rl:x:1:y 9000000000000000', 'PX', 60_000);
    expect(await lock.release()).toBe(false);
    expect(typesOf(events)).toContain('lost');
    await redis.master.call('DEL', 'lock:taken');
  });

  it('also takes back an attempt whose answer was lost', async () => {
    const store = stores.open(link.url);
    await take(store, 'before-unheard');
    link.dropReplies();
    const attempt = store.acquire(requestFor('unheard'));
    await until(async () => (await direct.inspect('unheard')).kind === 'held', {
      what: 'the script has run',
    });
    attempt.abandon();
    link.cut();
    await until(async () => (await direct.inspect('unheard')).kind === 'free', { what: 'it was taken back' });
  });

  it('is no loss after a fail-over between the two tries', async () => {
    const deployment = await startSentinels();
    try {
      const old = await deployment.master();
      const way = await Link.to(old);
      const natMap = { [old.address]: { host: '127.0.0.1', port: way.port } };
      const { locks, events } = open({ ...deployment.connection, natMap }, { replicaTimeout: 15_000 });
      const lock = await locks.acquire('promoted', { leaseTime: 30_000 });
      const raw = old.client();
      way.dropReplies();
      const released = lock.release();
      await until(async () => /^\d+$/.test((await raw.get('lock:promoted')) ?? ''), {
        what: 'the script has run',
      });
      raw.disconnect();
      await way.dispose();
      await old.kill();
      await deployment.untilPromoted(old);
      expect(await released).toBe(true);
      expect(await locks.inspect('promoted')).toBeNull();
      expect(typesOf(events)).toEqual(['acquired', 'released']);
    } finally {
      await deployment.dispose();
    }
  }, 60_000);

  describe('in a Cluster', () => {
    let cluster: TestCluster;
    const links: Link[] = [];

    beforeAll(async () => {
      cluster = await startCluster();
      for (const node of cluster.nodes) links.push(await Link.to(node));
    }, 30_000);
    afterAll(async () => {
      await Promise.all(links.map((each) => each.dispose()));
      await cluster.dispose();
    });

    it('is no loss of keys in several slots', async () => {
      const natMap = Object.fromEntries(
        cluster.nodes.map(({ address }, i) => [address, { host: '127.0.0.1', port: links[i]!.port }]),
      );
      const { locks, events } = open({ ...cluster.connection, options: { natMap } });
      const beside = stores.open(cluster.connection);
      const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
      const lock = await locks.acquire(keys);
      for (const each of links) each.dropReplies();
      const released = lock.release();
      for (const key of keys) {
        await until(async () => (await beside.inspect(key)).kind === 'free', { what: `${key} is free` });
      }
      for (const each of links) each.cut();
      expect(await released).toBe(true);
      expect(typesOf(events)).toEqual(['acquired', 'released']);
    }, 30_000);
  });
});

describe('A release that Redis refuses', () => {
  it('is refused alone: the releases that were sent with it succeed', async () => {
    await using server = await startRedis();
    await server.call('ACL', 'SETUSER', 'shop', 'on', '>pw', '~lock:*', '&*', '+@all');
    const store = stores.open(`redis://shop:pw@${server.address}`, single);
    const good = [];
    for (let i = 0; i < 5; i++) good.push(await take(store, `a:${i}`));
    const bad = await take(store, ['a:5', 'zzz']);
    await server.call('ACL', 'SETUSER', 'shop', 'resetkeys', '~lock:a:*');
    const answers = await Promise.all([...good, bad].map((lock) => store.release(lock, 0)));
    expect(answers.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => RELEASED));
    expect(answers[5]).toMatchObject({
      kind: 'unavailable',
      permanent: true,
      reason: expect.stringMatching(/refused: NOPERM/),
    });
    await stores.closeAll();
  });

  it('does not affect the checks of other keys', async () => {
    await using server = await startRedis();
    await server.call('ACL', 'SETUSER', 'shop', 'on', '>pw', '~lock:*', '&*', '+@all');
    const store = stores.open(`redis://shop:pw@${server.address}`, single);
    const good = await take(store, 'a:1');
    const bad = await take(store, 'zzz');
    await server.call('ACL', 'SETUSER', 'shop', 'resetkeys', '~lock:a:*');
    expect(await Promise.all([good, bad].map((lock) => store.watch(lock)))).toEqual([
      { kind: 'held' },
      { kind: 'unknown' },
    ]);
    await stores.closeAll();
  });

  it('says so, and not that there was no answer, and is sent again', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, { ...single, replicaTimeout: 500 });
    const held = await take(store, 'refused');
    await server.call('CONFIG', 'SET', 'min-replicas-to-write', 2);
    expect(await store.release(held, 0)).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: NOREPLICAS .*sent again until the lease has passed\.$/),
    });
    await server.call('CONFIG', 'SET', 'min-replicas-to-write', 0);
    await until(async () => (await store.inspect('refused')).kind === 'free', { what: 'it was released' });
    await stores.closeAll();
  });
});

describe('When the memory of Redis is full', () => {
  it('held locks are renewed, kept busy and released, and no new lock is granted', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url);
    const [plain, renewed, kept, keptLonger, several, forced] = await Promise.all([
      take(store, 'plain'),
      take(store, 'renewed'),
      take(store, 'kept'),
      take(store, 'kept-longer'),
      take(store, ['several-1', 'several-2', 'several-3']),
      take(store, 'forced'),
    ]);
    await redis.master.call('CONFIG', 'SET', 'maxmemory', '1mb');
    expect(
      await store.acquire(requestFor('new', { waitUntil: 0, replicaTimeout: 500 })).outcome,
    ).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: OOM.*maxmemory/),
    });
    expect(await store.renew(renewed, 10_000)).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    expect(await store.renew(several, 10_000)).toMatchObject({ kind: 'renewed' });
    expect(await store.renew(keptLonger, 30_000, 'cooldown')).toMatchObject({ kind: 'renewed' });
    expect(await Promise.all([plain, several, renewed].map((lock) => store.release(lock, 0)))).toEqual([
      RELEASED,
      RELEASED,
      RELEASED,
    ]);
    expect(await store.release(kept, 5_000)).toEqual(RELEASED);
    expect(await store.inspect('kept')).toMatchObject({ holder: { inCooldown: true } });
    expect(await store.inspect('kept-longer')).toMatchObject({ holder: { inCooldown: true } });
    expect(await store.forceRelease('forced')).toEqual({ kind: 'done', wasHeld: true });
    for (const key of ['plain', 'several-1', 'several-3', 'renewed', 'forced'])
      expect(await store.inspect(key)).toEqual({ kind: 'free' });
    expect(await store.release(forced, 0)).toEqual(RELEASED);
    await redis.master.call('CONFIG', 'SET', 'maxmemory', '0');
    granted(await store.acquire(requestFor('new')).outcome);
    await stores.closeAll();
  });
});

describe('A server that has forgotten its scripts', () => {
  it('gets each script again, whichever is needed next and however often', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url);
    const flush = (): Promise<unknown> => redis.master.call('SCRIPT', 'FLUSH');
    for (let round = 0; round < 3; round++) {
      const [a, b] = await Promise.all([take(store, 'a'), take(store, ['b', 'c'])]);
      await flush();
      expect(await store.watch(a)).toEqual({ kind: 'held' });
      await flush();
      expect((await store.renew(b, 10_000)).kind).toBe('renewed');
      await flush();
      expect(await Promise.all([store.release(a, 0), store.release(b, 100)])).toEqual([RELEASED, RELEASED]);
      await flush();
      expect(await store.forceRelease('b')).toMatchObject({ kind: 'done', wasHeld: true });
      await flush();
      expect(await store.forceRelease('c')).toMatchObject({ kind: 'done', wasHeld: true });
      await flush();
      const attempt = store.acquire(requestFor('taken-back'));
      granted(await attempt.outcome);
      await flush();
      attempt.abandon();
      await until(async () => (await store.inspect('taken-back')).kind === 'free', {
        what: 'it was taken back',
      });
    }
    await stores.closeAll();
  });
});

describe('Many locks that are released at once', () => {
  it('are sent in pipelines: the next as soon as an earlier one was answered', async () => {
    await using server = await startRedis();
    const link = await Link.to(server);
    const patient = { ...single, replicaTimeout: 30_000 };
    const store = stores.open(link.url, patient);
    const held: HeldKeys[] = [];
    for (let from = 0; from < 5_000; from += 500)
      held.push(...(await Promise.all(Array.from({ length: 500 }, (_, i) => take(store, `${from + i}`)))));
    const runs = async (): Promise<number> => {
      const stats = await server.info('commandstats');
      return ['eval', 'evalsha'].reduce(
        (sum, name) => sum + Number(/calls=(\d+)/.exec(stats[`cmdstat_${name}`] ?? '')?.[1] ?? 0),
        0,
      );
    };
    const before = await runs();
    link.stall('replies');
    const answers = Promise.all(held.map((lock) => store.release(lock, 0)));
    await until(async () => (await runs()) > before, { what: 'the first slice has arrived' });
    // With runs of 64 releases, all locks would need 79 runs.
    expect((await runs()) - before).toBeLessThanOrEqual(8);
    link.resume();
    expect(await answers).toEqual(held.map(() => RELEASED));
    expect(stores.reports.filter(({ level }) => level !== 'log')).toEqual([]);
    await stores.closeAll();
    await link.dispose();
  }, 30_000);

  it('are all answered, however long that takes, as long as the server answers', async () => {
    const clock = new ManualClock();
    const releases = new ReleaseOutbox(clock, 2_000);
    releases.attach(sessionOn(clock, 1_500));
    const outcomes: ReleaseOutcome[] = [];
    for (let i = 0; i < 1_000; i++)
      void releases
        .add({ keys: [`k${i}`], owner: 'rl:o', token: 1, cooldown: 0 }, undefined, 60_000)
        .then((outcome) => outcomes.push(outcome));
    await clock.advance(4_000);
    expect(outcomes.length).toBeGreaterThan(0);
    expect(outcomes.length).toBeLessThan(1_000);
    await clock.advance(16_000);
    expect(outcomes).toEqual(Array.from({ length: 1_000 }, () => RELEASED));
  });

  it('each get an answer in time if the server falls silent', async () => {
    const clock = new ManualClock();
    const releases = new ReleaseOutbox(clock, 2_000);
    releases.attach(sessionOn(clock, Infinity));
    const outcomes: ReleaseOutcome[] = [];
    for (let i = 0; i < 1_000; i++)
      void releases
        .add({ keys: [`k${i}`], owner: 'rl:o', token: 1, cooldown: 0 }, undefined, 60_000)
        .then((outcome) => outcomes.push(outcome));
    await clock.advance(2_100);
    expect(outcomes).toHaveLength(1_000);
    expect(outcomes[0]).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/did not answer the release within 2000 ms/),
    });
    releases.close({ kind: 'unavailable', reason: 'closed' });
  });

  it('are all released when the application ends', async () => {
    await using server = await startRedis();
    const { locks } = open(server.url, { ...single, replicaTimeout: 5_000 });
    const count = 3_000;
    for (let from = 0; from < count; from += 500)
      await Promise.all(Array.from({ length: 500 }, (_, i) => locks.acquire(`end-${from + i}`)));
    await locks.close();
    const values = await server.client().mget(Array.from({ length: count }, (_, i) => `lock:end-${i}`));
    expect(values.filter((value) => value === null || /^\d{16}$/.test(value))).toHaveLength(count);
  }, 30_000);
});

/** A session whose releases are answered after `time` ms. */
function sessionOn(clock: ManualClock, time: number): Session {
  const session: Pick<Session, 'address' | 'isLive' | 'groupCommand' | 'askControl'> = {
    address: { host: 'h', port: 1 },
    isLive: true,
    groupCommand: (_, calls) => ['evalsha', calls.length],
    askControl: (commands) =>
      new Promise((resolve) => {
        const replies = commands.map(([, count]) => Array.from({ length: Number(count) }, () => 1));
        clock.after(time, () => resolve(replies));
      }),
  };
  return session as Session;
}

describe('Locks of many keys', () => {
  it('64 of 256 keys each are taken, watched, renewed and released at once', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url, { replicaTimeout: 5_000 });
    const keysOf = (lock: number): string[] =>
      Array.from({ length: 256 }, (_, i) => `lock ${lock} key ${String(i).padStart(3, '0')}`);
    const held = await Promise.all(Array.from({ length: 64 }, (_, i) => take(store, keysOf(i))));
    expect(
      new Set((await Promise.all(held.map((lock) => store.watch(lock)))).map(({ kind }) => kind)),
    ).toEqual(new Set(['held']));
    const renewed = await Promise.all(held.map((lock) => store.renew(lock, 10_000)));
    expect(new Set(renewed.map(({ kind }) => kind))).toEqual(new Set(['renewed']));
    expect(await Promise.all(held.map((lock) => store.release(lock, 0)))).toEqual(held.map(() => RELEASED));
    expect(stores.reports.filter(({ level }) => level !== 'log')).toEqual([]);
    await stores.closeAll();
  }, 30_000);

  it('cost the server little more for being tracked', async () => {
    await using server = await startRedis();
    await server.call('ACL', 'SETUSER', 'untold', 'on', '>pw', '~*', '&*', '+@all', '-client|tracking');
    // The seconds of the server's processor for 20 renewals of 256 keys.
    const costOn = async (url: string): Promise<number> => {
      const store = stores.open(url, { ...single, replicaTimeout: 5_000 });
      const held = await take(
        store,
        Array.from({ length: 256 }, (_, i) => `${url} ${i}`),
      );
      const used = async (): Promise<number> => Number((await server.info('cpu'))['used_cpu_user']);
      const before = await used();
      for (let i = 0; i < 20; i++) await store.renew(held, 10_000);
      return (await used()) - before;
    };
    // Redis 7.0 tracks all keys of a script at each read in it: with a read per key, 8 times as
    // much.
    const [tracked, untracked] = [
      await costOn(server.url),
      await costOn(`redis://untold:pw@${server.address}`),
    ];
    expect(tracked).toBeLessThan(5 * untracked);
    await stores.closeAll();
  });

  it('leave every key alone if one of them holds no string', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const before = await take(store, 'a');
    await store.release(before, 0);
    await server.call('LPUSH', 'lock:c', 'x');
    expect(await store.acquire(requestFor(['a', 'b', 'c', 'd'])).outcome).toMatchObject({
      kind: 'foreign',
      key: 'c',
      found: 'a value that is no string',
    });
    for (const key of ['a', 'b', 'd']) expect(await store.inspect(key)).toEqual({ kind: 'free' });
    expect(await server.call('LRANGE', 'lock:c', 0, -1)).toEqual(['x']);
    expect((await take(store, 'a')).token).toBeGreaterThan(before.token);
    await stores.closeAll();
  });
});

describe('The server’s table of tracked keys', () => {
  /** How many keys the server remembers for client tracking. */
  async function trackedBy(server: RedisProcess): Promise<number> {
    return Number((await server.info('stats'))['tracking_total_keys']);
  }

  it('forgets a key that was checked after another program had deleted it', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const held = await Promise.all(['a', 'b', 'c', 'd'].map((key) => take(store, key)));
    const several = await take(store, ['m', 'n', 'o']);
    await Promise.all([...held, several].map((lock) => store.watch(lock)));
    expect(await trackedBy(server)).toBe(7);
    await server.call('DEL', 'lock:a', 'lock:b', 'lock:m', 'lock:o');
    // Each beside held keys: Redis 7.0 tracks all keys of a script at each read in it.
    expect(await Promise.all(held.map((lock) => store.watch(lock)))).toMatchObject([
      { kind: 'gone' },
      { kind: 'gone' },
      { kind: 'held' },
      { kind: 'held' },
    ]);
    expect(await store.watch(several)).toEqual({ kind: 'gone', key: 'm' });
    const renewed = await Promise.all([...held, several].map((lock) => store.renew(lock, 10_000)));
    expect(renewed.map(({ kind }) => kind)).toEqual(['gone', 'gone', 'renewed', 'renewed', 'gone']);
    for (const lock of [...held, several]) await store.release(lock, 0);
    await until(async () => (await trackedBy(server)) === 0, { what: 'nothing is tracked any more' });
    await stores.closeAll();
  });

  it('forgets the free keys of a lock that found another key busy', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const held = await take(store, 'busy');
    expect((await store.acquire(requestFor(['a', 'busy', 'c'])).outcome).kind).toBe('busy');
    await store.release(held, 0);
    await until(async () => (await trackedBy(server)) === 0, { what: 'nothing is tracked any more' });
    await stores.closeAll();
  });
});

describe('A minHoldTime beyond the lease', () => {
  it('does not delay release() while no replica confirms the cooldown', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const { locks } = open(redis.url, { replicaTimeout: 500 });
    const lock = await locks.acquire('slow', { minHoldTime: '60s', replicaTimeout: 500 });
    await redis.replica(0).stop();
    const asked = performance.now();
    await expect(lock.release()).rejects.toMatchObject({
      code: 'LOCK_UNAVAILABLE',
      message: expect.stringMatching(/did not confirm within 1500 ms that its key stays busy/),
    });
    expect(performance.now() - asked).toBeLessThan(4_000);
    redis.replica(0).resume();
    await until(async () => (await redis.replica(0).call('GET', 'lock:slow'))?.toString().includes('~ '), {
      what: 'the replica has it',
    });
    await Promise.all(services.splice(0).map((each) => each.close()));
  });

  it('keeps the key busy for that time and no longer', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const { locks } = open(redis.url);
    const lock = await locks.acquire('exact', { leaseTime: 2_000, minHoldTime: 6_000 });
    await lock.release();
    const left = Number(await redis.master.call('PTTL', 'lock:exact'));
    expect(left).toBeLessThanOrEqual(6_000);
    expect(left).toBeGreaterThan(3_000);
    await Promise.all(services.splice(0).map((each) => each.close()));
  });
});
