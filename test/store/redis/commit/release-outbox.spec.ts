import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { HeldKeys, ReleaseOutcome } from '../../../../lib/store/lock-store.js';
import { ReleaseOutbox } from '../../../../lib/store/redis/commit/release-outbox.js';
import type { Release } from '../../../../lib/store/redis/commit/release.js';
import { MUTEX } from '../../../../lib/store/redis/scripts/lock-scripts.js';
import type { Session } from '../../../../lib/store/redis/connection/session.js';
import { ErrorReply, type Reply } from '../../../../lib/store/redis/resp.js';
import { until } from '../../../support/eventually.js';
import { Link } from '../../../support/link.js';
import { ManualClock } from '../../../support/manual-clock.js';
import { startRedis } from '../../../support/redis-process.js';
import { startReplication } from '../../../support/replication.js';
import { take } from '../../requests.js';
import { RedisServices, RedisStores } from '../redis-stores.js';

const REQUEST = { owner: 'rl:o', token: 1, cooldown: 0, slot: undefined, scripts: MUTEX } as const;
const SETTINGS = { replicaTimeout: 1_000, clockSkew: 0 };
const single = { allowNoReplicas: true } as const;
const RELEASED: ReleaseOutcome = { kind: 'released', ours: true };
const stores = new RedisStores();
const services = new RedisServices();

afterEach(async () => {
  await services.closeAll();
  await stores.closeAll();
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
    const releases = new ReleaseOutbox(clock, SETTINGS);
    releases.attach(sessionOn(clock, 1_500));
    const outcomes: ReleaseOutcome[] = [];
    for (let i = 0; i < 1_000; i++)
      void releases.add({ ...REQUEST, keys: [`k${i}`] }, 60_000).then((outcome) => outcomes.push(outcome));
    await clock.advance(4_000);
    expect(outcomes.length).toBeGreaterThan(0);
    expect(outcomes.length).toBeLessThan(1_000);
    await clock.advance(16_000);
    expect(outcomes).toEqual(Array.from({ length: 1_000 }, () => RELEASED));
  });

  it('each get an answer in time if the server falls silent', async () => {
    const clock = new ManualClock();
    const releases = new ReleaseOutbox(clock, SETTINGS);
    releases.attach(sessionOn(clock, Infinity));
    const outcomes: ReleaseOutcome[] = [];
    for (let i = 0; i < 1_000; i++)
      void releases.add({ ...REQUEST, keys: [`k${i}`] }, 60_000).then((outcome) => outcomes.push(outcome));
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
    const { locks } = services.open(server.url, { ...single, replicaTimeout: 5_000 });
    const count = 3_000;
    for (let from = 0; from < count; from += 500)
      await Promise.all(Array.from({ length: 500 }, (_, i) => locks.acquire(`end-${from + i}`)));
    await locks.close();
    const values = await server.client().mget(Array.from({ length: count }, (_, i) => `lock:end-${i}`));
    expect(values.filter((value) => value === null || /^\d{16}$/.test(value))).toHaveLength(count);
  }, 30_000);
});

/** A session whose releases are answered after `time` ms. */
function sessionOn(
  clock: ManualClock,
  time: number,
  replyTo: (count: number) => Reply = (count) => Array.from({ length: count }, () => 1),
): Session {
  const session: Pick<Session, 'address' | 'isLive' | 'groupCommand' | 'askControl'> = {
    address: { host: 'h', port: 1 },
    isLive: true,
    groupCommand: (_, calls) => ['evalsha', calls.length],
    askControl: (commands) =>
      new Promise((resolve) => {
        const replies = commands.map(([, count]) => replyTo(Number(count)));
        clock.after(time, () => resolve(replies));
      }),
  };
  return session as Session;
}

describe('A release whose slot has no master', () => {
  const clock = new ManualClock();
  let master: ReleaseOutbox | undefined;
  const unserved = new ReleaseOutbox(clock, SETTINGS, {
    owns: () => master === undefined,
    handOver: (release) => master?.takeOver(release),
    whyUnserved: () => ({ kind: 'unavailable', reason: 'no master serves the slot.' }),
    onRedirection: () => {},
  });
  const outcomes: ReleaseOutcome[] = [];
  const release = (): void =>
    void unserved.add({ ...REQUEST, keys: ['k'] }, 60_000).then((outcome) => outcomes.push(outcome));

  it('is answered in time, whether or not a master appears that answers other releases', async () => {
    release();
    await clock.advance(2_000);
    expect(outcomes.splice(0)).toMatchObject([
      { kind: 'unavailable', reason: expect.stringMatching(/^no master serves the slot\. .*sent again/) },
    ]);
    release();
    const busy = new ReleaseOutbox(clock, SETTINGS);
    busy.attach(sessionOn(clock, 1));
    await clock.advance(1_000);
    void busy.add({ ...REQUEST, keys: ['other'] }, 60_000);
    await clock.advance(500);
    busy.attach(sessionOn(clock, Infinity));
    master = busy;
    unserved.onSlotsMoved();
    await clock.advance(500);
    expect(outcomes).toMatchObject([
      { kind: 'unavailable', reason: expect.stringMatching(/^Redis did not answer the release/) },
    ]);
    busy.close({ kind: 'unavailable', reason: 'closed' });
  });
});

describe('A release whose slot moved to another master', () => {
  let clock: ManualClock;
  let hasMoved: boolean;
  let isFollowed: boolean;
  let next: ReleaseOutbox;
  let former: ReleaseOutbox;

  beforeEach(() => {
    clock = new ManualClock();
    hasMoved = false;
    next = new ReleaseOutbox(clock, SETTINGS);
    former = new ReleaseOutbox(clock, SETTINGS, {
      owns: () => !hasMoved,
      handOver: (release) => next.takeOver(release),
      whyUnserved: () => undefined,
      onRedirection: () => (hasMoved = isFollowed),
    });
    next.attach(sessionOn(clock, Infinity));
  });
  afterEach(() => {
    for (const outbox of [former, next]) outbox.close({ kind: 'unavailable', reason: 'closed' });
  });

  /** Releases a key in the slot. The former master answers with this error. */
  const releaseRefused = (message: string): Promise<ReleaseOutcome> => {
    former.attach(sessionOn(clock, 1, () => new ErrorReply(message)));
    return former.add({ ...REQUEST, slot: 7, keys: ['k'] }, 60_000);
  };

  it.each<[string, boolean]>([
    ['the new master is silent too', true],
    ['the new master is not known yet', false],
  ])('does not advise a user of a Cluster to connect to a Cluster, if %s', async (_, follows) => {
    isFollowed = follows;
    const outcome = releaseRefused('MOVED 7 h:2');
    await clock.advance(2_100);
    expect(await outcome).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/^Redis did not answer the release within 2000 ms/),
    });
  });

  it('does not name a refusal of the former master, if the new master is silent', async () => {
    const outcome = releaseRefused('OOM command not allowed');
    await clock.advance(10);
    hasMoved = true;
    former.onSlotsMoved();
    await clock.advance(2_100);
    expect(await outcome).toMatchObject({ reason: expect.not.stringContaining('OOM') });
  });
});

describe('A release that is unanswered when its slot moves', () => {
  it('is handed over if the connection to the former master ends without an answer', async () => {
    const clock = new ManualClock();
    const handedOver: Release[] = [];
    let isOwn = true;
    const outbox = new ReleaseOutbox(clock, SETTINGS, {
      owns: () => isOwn,
      handOver: (release) => handedOver.push(release),
      whyUnserved: () => undefined,
      onRedirection: () => {},
    });
    let endSession: () => void = () => {};
    const session: Partial<Session> = {
      isLive: true,
      groupCommand: () => ['evalsha'],
      askControl: () => new Promise((_, reject) => (endSession = () => reject(new Error('gone')))),
    };
    outbox.attach(session as Session);
    void outbox.add({ ...REQUEST, keys: ['k'] }, 60_000);
    await clock.advance(1);
    isOwn = false;
    outbox.onSlotsMoved();
    expect(handedOver).toEqual([]);
    outbox.detach();
    endSession();
    await clock.advance(1);
    expect(handedOver).toMatchObject([{ keys: ['k'], mayHaveRun: true }]);
    expect(outbox.isIdle).toBe(true);
  });
});

describe('A minHoldTime beyond the lease', () => {
  it('does not delay release() while no replica confirms the cooldown', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const { locks } = services.open(redis.url, { replicaTimeout: 500 });
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
    await services.closeAll();
  });

  it('keeps the key busy for that time and no longer', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const { locks } = services.open(redis.url);
    const lock = await locks.acquire('exact', { leaseTime: 2_000, minHoldTime: 6_000 });
    await lock.release();
    const left = Number(await redis.master.call('PTTL', 'lock:exact'));
    expect(left).toBeLessThanOrEqual(6_000);
    expect(left).toBeGreaterThan(3_000);
    await services.closeAll();
  });
});
