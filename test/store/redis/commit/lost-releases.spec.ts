import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { LockEvent } from '../../../../lib/lock/events.js';
import type { LockStore } from '../../../../lib/store/lock-store.js';
import { startCluster, type TestCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import { Link } from '../../../support/link.js';
import { startReplication, type Replication } from '../../../support/replication.js';
import { startSentinels } from '../../../support/sentinels.js';
import { requestFor, take } from '../../requests.js';
import { RedisServices, RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
const services = new RedisServices();

afterEach(async () => {
  await services.closeAll();
  await stores.closeAll();
});

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
    const { locks, events } = services.open(link.url);
    const lock = await locks.acquire('answer');
    expect(await losingTheAnswer('answer', () => lock.release())).toBe(true);
    expect(typesOf(events)).toEqual(['acquired', 'released']);
  });

  it('is no loss for work that was done', async () => {
    const { locks, events } = services.open(link.url);
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
    const { locks, events } = services.open(link.url);
    const lock = await locks.acquire(['several-1', 'several-2', 'several-3']);
    expect(await losingTheAnswer('several-3', () => lock.release())).toBe(true);
    expect(typesOf(events)).toEqual(['acquired', 'released']);
  });

  it('is no loss if the next holder has taken the key meanwhile, and leaves the key to that holder', async () => {
    const { locks, events } = services.open(link.url);
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
    const { locks, events } = services.open(link.url);
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
      const { locks, events } = services.open(link.url);
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
    const { locks, events } = services.open(link.url);
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
    await until(async () => (await direct.inspect('unheard')).kind === 'free', {
      what: 'the attempt was taken back',
    });
  });

  it('is no loss after a fail-over between the two tries', async () => {
    const deployment = await startSentinels();
    try {
      const old = await deployment.master();
      const way = await Link.to(old);
      const natMap = { [old.address]: { host: '127.0.0.1', port: way.port } };
      const { locks, events } = services.open(
        { ...deployment.connection, natMap },
        { replicaTimeout: 15_000 },
      );
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

    it('is no loss if the keys are in several slots', async () => {
      const natMap = Object.fromEntries(
        cluster.nodes.map(({ address }, i) => [address, { host: '127.0.0.1', port: links[i]!.port }]),
      );
      const { locks, events } = services.open({ ...cluster.connection, options: { natMap } });
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
