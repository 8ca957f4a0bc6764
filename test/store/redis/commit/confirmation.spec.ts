import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { AcquireOutcome } from '../../../../lib/store/lock-store.js';
import { systemClock } from '../../../../lib/common/clock.js';
import { until } from '../../../support/eventually.js';
import { startRedis } from '../../../support/redis-process.js';
import { startReplication, type Replication } from '../../../support/replication.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
let redis: Replication;

beforeAll(async () => {
  redis = await startReplication({ replicas: 2 });
});
afterEach(async () => {
  await stores.closeAll();
});
afterAll(async () => {
  await redis.dispose();
});

/** ms after which a confirmation is so late that the keys are checked again. */
const LATE = 10;

describe('A grant counts once the replicas have confirmed it', () => {
  it('says how many replicas confirmed it', async () => {
    const store = stores.open(redis.url);
    expect(granted(await store.acquire(requestFor('both')).outcome).confirmedBy).toBe(2);
  });

  it("is refused with 'all' while a replica hangs; the error names the replica, and the keys are taken back", async () => {
    const store = stores.open(redis.url, { replicaTimeout: 300 });
    await take(store, 'warm-all');
    await redis.replica(0).stop();
    try {
      const outcome = await store.acquire(requestFor('hung', { replicaTimeout: 300 })).outcome;
      expect(outcome).toMatchObject({ kind: 'unconfirmed', confirmed: 1, required: 2 });
      const { replicas } = outcome as Extract<typeof outcome, { kind: 'unconfirmed' }>;
      expect(replicas.find(({ address }) => address === redis.replica(0).address)).toMatchObject({
        acknowledged: false,
      });
      expect(replicas.find(({ address }) => address === redis.replica(1).address)).toMatchObject({
        acknowledged: true,
      });
      await until(async () => (await store.inspect('hung')).kind === 'free', {
        what: 'the attempt was taken back',
      });
    } finally {
      redis.replica(0).resume();
    }
  });

  it('is refused if fewer replicas answer than the caller asks for', async () => {
    const store = stores.open(redis.url);
    expect(
      await store.acquire(requestFor('three', { replicas: 3, replicaTimeout: 200 })).outcome,
    ).toMatchObject({
      kind: 'unconfirmed',
      confirmed: 2,
      required: 3,
    });
  });

  it('needs the majority even if the caller asks for fewer replicas, and the log says so', async () => {
    await using three = await startReplication({ replicas: 3 });
    const store = stores.open(three.url, { replicas: 1 });
    expect(
      granted(await store.acquire(requestFor('raised', { replicas: 1 })).outcome).confirmedBy,
    ).toBeGreaterThanOrEqual(2);
    expect(stores.reports).toMatchObject([
      { level: 'warn', code: 'replicas-raised', message: expect.stringContaining('2 replicas must confirm') },
    ]);
    await stores.closeAll();
  });

  it('needs replicas even with replicas: 0, and the log names the option that permits none', async () => {
    await using one = await startReplication({ replicas: 1 });
    const store = stores.open(one.url, { replicas: 0 });
    granted(await store.acquire(requestFor('none', { replicas: 0 })).outcome);
    expect(stores.reports).toMatchObject([
      {
        code: 'replicas-raised',
        message: expect.stringMatching(/1 replica must confirm\. .*allowNoReplicas: true/),
      },
    ]);
    await stores.closeAll();
  });

  it('is refused on a server without replicas: the log says once what to do, and so does health()', async () => {
    await using alone = await startRedis();
    const store = stores.open(alone.url);
    expect(await store.acquire(requestFor('alone', { replicaTimeout: 200 })).outcome).toMatchObject({
      kind: 'unconfirmed',
      required: 1,
      replicas: [],
    });
    const advice = `Redis at ${alone.address} has no replica, so every lock on it is refused: attach one, or set allowNoReplicas: true`;
    expect(stores.reports).toContainEqual({
      level: 'error',
      code: 'no-replica',
      message: expect.stringContaining(advice),
    });
    expect(store.health()).toMatchObject({
      status: 'degraded',
      masters: [{ reason: expect.stringContaining(advice) }],
    });
    await alone.call('CLIENT', 'KILL', 'TYPE', 'normal');
    await until(() => stores.reports.some(({ code }) => code === 'connection-lost'), { what: 'it is gone' });
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected again' });
    expect(stores.reports.filter(({ code }) => code === 'no-replica')).toHaveLength(1);
    const single = stores.open(alone.url, { allowNoReplicas: true });
    granted(await single.acquire(requestFor('single')).outcome);
    expect(stores.reports.filter(({ code }) => code === 'no-replica')).toHaveLength(1);
    await stores.closeAll();
  });

  it("succeeds with 'majority' while one of two replicas hangs, even beside callers that need both", async () => {
    const store = stores.open(redis.url);
    await take(store, 'warm-majority');
    await redis.replica(0).stop();
    try {
      let isPending = true;
      const needsBoth = store.acquire(
        requestFor('needs-both', { replicas: 2, replicaTimeout: 2_000 }),
      ).outcome;
      void needsBoth.then(() => (isPending = false));
      for (let i = 0; i < 5; i++) {
        const outcome = granted(
          await store.acquire(requestFor(`needs-one-${i}`, { replicas: 'majority' })).outcome,
        );
        expect(outcome.confirmedBy).toBe(1);
      }
      expect(isPending).toBe(true);
      expect((await needsBoth).kind).toBe('unconfirmed');
    } finally {
      redis.replica(0).resume();
    }
  });

  it('is late but succeeds if a replica hangs for a short time', async () => {
    const store = stores.open(redis.url);
    await take(store, 'warm-stutter');
    await redis.replica(0).stop();
    const pending = store.acquire(requestFor('stutter', { replicaTimeout: 5_000 })).outcome;
    await until(async () => (await store.inspect('stutter')).kind === 'held', { what: 'it is written' });
    redis.replica(0).resume();
    expect(granted(await pending).confirmedBy).toBe(2);
  });

  it('is renewed by the majority, even if a replica that the grant needed hangs', async () => {
    const store = stores.open(redis.url);
    const held = await take(store, 'renewed-by-one');
    await redis.replica(1).stop();
    try {
      expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    } finally {
      redis.replica(1).resume();
    }
  });

  it('is expired, not renewed, if the confirmation comes after the lease', async () => {
    const store = stores.open(redis.url);
    const held = await take(store, 'late-renewal', { leaseTime: 600 });
    await Promise.all(redis.replicas.map((replica) => replica.stop()));
    const renewal = store.renew(held, 10_000).outcome;
    try {
      expect(await renewal).toMatchObject({ kind: 'expired', why: { kind: 'unconfirmed' } });
      expect(held.validity.remaining(systemClock)).toBe(0);
    } finally {
      for (const replica of redis.replicas) replica.resume();
    }
  });

  it('is asked for again if another program took the key meanwhile', async () => {
    const store = stores.open(redis.url);
    const operator = stores.open(redis.url);
    await take(operator, 'warm-meanwhile');
    await take(store, 'warm-meanwhile-too');
    await Promise.all(redis.replicas.map((replica) => replica.stop()));
    const request = requestFor('meanwhile', { replicaTimeout: 10_000 });
    const asked = performance.now();
    const pending = store.acquire(request).outcome;
    await until(async () => (await store.inspect('meanwhile')).kind === 'held', { what: 'it is written' });
    await until(() => performance.now() - asked > LATE, { what: 'its confirmation is late' });
    expect(await operator.forceRelease('meanwhile')).toEqual({ kind: 'done', wasHeld: true });
    for (const replica of redis.replicas) replica.resume();
    const { token } = granted(await pending);
    // The owner holds the key in Redis too, not only the confirmation of a write that is gone.
    expect(await store.inspect('meanwhile')).toMatchObject({ holder: { owner: request.owner, token } });
  });

  it('is given to hundreds of requests at once, and both replicas confirm each', async () => {
    const store = stores.open(redis.url);
    const outcomes = await Promise.all(
      Array.from({ length: 600 }, (_, i) => store.acquire(requestFor(`crowd-${i}`)).outcome),
    );
    expect(new Set(outcomes.map((outcome) => granted(outcome).confirmedBy))).toEqual(new Set([2]));
  });

  it('is not delayed by a backlog of renewals, and renewals are not delayed by a backlog of new locks', async () => {
    const store = stores.open(redis.url);
    const held = await Promise.all(Array.from({ length: 1_000 }, (_, i) => take(store, `backlog-${i}`)));
    const order: string[] = [];
    const ask = (name: string, answer: Promise<unknown>): Promise<unknown> =>
      answer.then(() => order.push(name));
    await Promise.all([
      ...held.map((each) => ask('renewal', store.renew(each, 10_000).outcome)),
      ...held.map((_, i) => ask('grant', store.acquire(requestFor(`behind-backlog-${i}`)).outcome)),
    ]);
    // A group has 256 places. Renewals come first, but leave a quarter of the places to new locks.
    expect(order.indexOf('grant')).toBeGreaterThanOrEqual(192);
    expect(order.indexOf('grant')).toBeLessThan(192 * 4);
    expect(order.lastIndexOf('renewal')).toBeLessThan(1_000 + 64 * 6);
  });
});

describe('An attempt whose caller gives up while the replicas are silent', () => {
  it('is taken back at once', async () => {
    const store = stores.open(redis.url);
    await take(store, 'warm-abandon');
    await Promise.all(redis.replicas.map((replica) => replica.stop()));
    try {
      const attempt = store.acquire(requestFor('given-up', { replicaTimeout: 10_000 }));
      await until(async () => (await store.inspect('given-up')).kind === 'held', { what: 'it is written' });
      attempt.abandon();
      await until(async () => (await store.inspect('given-up')).kind === 'free', {
        what: 'the attempt was taken back',
      });
    } finally {
      for (const replica of redis.replicas) replica.resume();
    }
  });
});

describe('On a master without replicas', () => {
  it('no lock is granted, and the outcome says that there are no replicas', async () => {
    await using alone = await startReplication({ replicas: 0 });
    const store = stores.open(alone.url);
    expect(await store.acquire(requestFor('alone', { replicaTimeout: 200 })).outcome).toMatchObject({
      kind: 'unconfirmed',
      confirmed: 0,
      required: 1,
      replicas: [],
    });
    await stores.closeAll();
  });
});

describe('The quarantine', () => {
  it('refuses a caller that does not wait at once, with the seconds left, and does not affect held locks', async () => {
    await using young = await startReplication({ replicas: 2 });
    const before = stores.open(young.url);
    const held = await take(before, 'held-through');
    const store = stores.open(young.url, { quarantine: 60_000 });
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected' });
    const outcome = await store.acquire(requestFor('new', { waitUntil: systemClock.monotonic() })).outcome;
    expect(outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/in \d+ s at the earliest \(option quarantine\)/),
    });
    const { retryAfter } = outcome as Extract<typeof outcome, { kind: 'unavailable' }>;
    expect(retryAfter).toBeGreaterThan(50_000);
    expect(retryAfter).toBeLessThanOrEqual(66_000);
    expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    expect(store.health()).toMatchObject({
      status: 'degraded',
      masters: [{ reason: expect.stringContaining('quarantine') }],
    });
    await stores.closeAll();
  });

  it('ends as soon as the links are as old as the quarantine, for a process that saw them made', async () => {
    await using growing = await startReplication({ replicas: 0 });
    const store = stores.open(growing.url, { quarantine: 1_500, replicas: 'majority' });
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected' });
    await growing.join();
    await until(() => store.health().masters[0]?.replicas.length === 1, {
      what: 'the store has seen the replica',
    });
    const start = systemClock.monotonic();
    const outcome = granted(
      await store.acquire(requestFor('later', { waitUntil: start + 10_000, leaseTime: 1_500 })).outcome,
    );
    expect(outcome.confirmedBy).toBe(1);
    expect(systemClock.monotonic() - start).toBeGreaterThan(500);
    await stores.closeAll();
  });

  it('begins again if the links are made again, and no grant starts before its end', async () => {
    await using broken = await startReplication({ replicas: 1 });
    const store = stores.open(broken.url, { quarantine: 0 });
    await take(store, 'before');
    const strict = stores.open(broken.url, { quarantine: 1_000 });
    granted(
      await strict.acquire(
        requestFor('first', { waitUntil: systemClock.monotonic() + 12_000, leaseTime: 1_000 }),
      ).outcome,
    );
    await broken.master.call('CLIENT', 'KILL', 'TYPE', 'replica');
    await broken.waitUntilOnline();
    await until(() => strict.health().masters[0]!.quarantine > 0, { what: 'the new link was seen' });
    const outcome = await strict.acquire(
      requestFor('second', { waitUntil: systemClock.monotonic(), leaseTime: 1_000 }),
    ).outcome;
    expect(outcome).toMatchObject({ kind: 'unavailable' });
    expect((await store.inspect('second')).kind).toBe('free');
    await stores.closeAll();
  });

  it('is extended neither by a key that lives for a day nor by a key in its cooldown', async () => {
    await using old = await startReplication({ replicas: 1 });
    const one = stores.open(old.url, { quarantine: 0 });
    const held = await take(one, 'nightly', { leaseTime: 1_000 });
    expect(await one.renew(held, 3_600_000, 'cooldown').outcome).toMatchObject({ kind: 'renewed' });
    await old.master.call('SET', 'lock:job', 'rl:op:1:x:1 1700000000000000', 'EX', '86400');
    const other = stores.open(old.url, { quarantine: 1_000 });
    await until(() => other.health().masters[0]?.connected, { what: 'the other is connected' });
    const ask = (key: string): Promise<AcquireOutcome> =>
      other.acquire(requestFor(key, { leaseTime: 1_000, waitUntil: systemClock.monotonic() })).outcome;
    await until(async () => (await ask('job')).kind === 'busy', {
      within: 15_000,
      what: 'it has met the key',
    });
    expect(await ask('nightly')).toMatchObject({ kind: 'busy' });
    expect(await ask('job')).toMatchObject({ kind: 'busy' });
    expect(await ask('other')).toMatchObject({ kind: 'granted' });
    expect(other.health().masters[0]!.quarantine).toBe(0);
    expect(stores.reports.filter(({ code }) => code === 'long-lease')).toEqual([
      expect.objectContaining({
        level: 'warn',
        message: expect.stringMatching(
          /^Key 'job' is held by rl:op:1:x:1 for 86\d+ s more, .*quarantine \(1 s\)/,
        ),
      }),
    ]);
    // The master that showed the lease also shows its end.
    await old.master.call('DEL', 'lock:job');
    expect(await ask('job')).toMatchObject({ kind: 'granted' });
    await stores.closeAll();
  }, 20_000);
});
