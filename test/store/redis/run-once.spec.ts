import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { LockContendedError, LockLostError } from '../../../lib/lock/errors.js';
import type { LockService } from '../../../lib/lock/lock-service.js';
import type { OnceOptions, OnceResult } from '../../../lib/index.js';
import type { RedisStoreOptions } from '../../../lib/store/redis/options.js';
import { startCluster } from '../../support/cluster.js';
import { until } from '../../support/eventually.js';
import { Link } from '../../support/link.js';
import { startReplication, type Replication } from '../../support/replication.js';
import { startSentinels } from '../../support/sentinels.js';
import { unique } from '../requests.js';
import { RedisServices } from './redis-stores.js';

const HOUR: OnceOptions = { keepFor: '1h' };

describe('On a master with two replicas', () => {
  let redis: Replication;
  let key: string;
  const services = new RedisServices();
  const open = (url = redis.url, overrides: Partial<RedisStoreOptions> = {}): LockService =>
    services.open(url, overrides).locks;
  /** The value of the key on each server. */
  const values = (): Promise<unknown[]> =>
    Promise.all([redis.master, ...redis.replicas].map((server) => server.call('GET', `lock:${key}`)));

  beforeAll(async () => {
    redis = await startReplication({ replicas: 2 });
  });
  afterEach(async () => {
    await services.closeAll();
  });
  afterAll(() => redis.dispose());

  describe('three services that race for one key', () => {
    it('run the work exactly once, and all callers get its result, which every replica has', async () => {
      const copies = [open(), open(), open()];
      for (let round = 0; round < 5; round++) {
        key = unique('race');
        let runs = 0;
        const results = await Promise.all(
          Array.from({ length: 30 }, (_, i) =>
            copies[i % 3]!.once(key, HOUR, async () => {
              const run = ++runs;
              await new Promise((resolve) => setTimeout(resolve, 10));
              return { run, by: i };
            }),
          ),
        );
        expect(runs).toBe(1);
        const { result } = results.find(({ ran }) => ran)!;
        expect(results.filter(({ ran }) => ran)).toHaveLength(1);
        for (const each of results) expect(each.result).toEqual(result);
        for (const value of await values()) expect(value).toContain(`= `);
        for (const value of await values()) expect(value).toContain(JSON.stringify(result));
      }
    });

    it('wait for the run, and hear of its result without a poll', async () => {
      key = unique('wait');
      const [runner, ...others] = [open(), open(), open()];
      let end!: () => void;
      const ended = new Promise<void>((resolve) => (end = resolve));
      const running = runner!.once(key, HOUR, () => ended.then(() => 'done'));
      await until(() => others[0]!.isLocked(key), { what: 'the work runs' });
      const waiting = [runner!, ...others].flatMap((copy) =>
        Array.from({ length: 20 }, () => copy.once(key, { ...HOUR, waitTime: '30s' }, () => 'again')),
      );
      // Waiters check again after 6 s at the earliest.
      await new Promise((resolve) => setTimeout(resolve, 100));
      const endedAt = performance.now();
      end();
      expect(await running).toEqual({ result: 'done', ran: true });
      for (const each of await Promise.all(waiting)) expect(each).toEqual({ result: 'done', ran: false });
      expect(performance.now() - endedAt).toBeLessThan(4_000);
    });

    it('run the work again after it has thrown, one at a time', async () => {
      key = unique('throws');
      const copies = [open(), open(), open()];
      let runs = 0;
      let inside = 0;
      const results = await Promise.allSettled(
        copies.map((copy) =>
          copy.once(key, HOUR, async () => {
            expect(++inside).toBe(1);
            const run = ++runs;
            await new Promise((resolve) => setTimeout(resolve, 10));
            inside--;
            if (run < 3) throw new Error(`failure ${run}`);
            return run;
          }),
        ),
      );
      expect(runs).toBe(3);
      expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(2);
      expect(results.find(({ status }) => status === 'fulfilled')).toMatchObject({
        value: { result: 3, ran: true },
      });
    });
  });

  it('a result that is too large is refused before it is written', async () => {
    key = unique('large');
    const locks = open();
    const refused = locks.once(key, HOUR, () => 'x'.repeat(70_000));
    await expect(refused).rejects.toThrow(/it has 70002 bytes, and 65536 are the most\. The work has run/);
    expect(await locks.inspect(key)).toBeNull();
    const large = 'ü'.repeat(32_767);
    expect(await locks.once(key, HOUR, () => large)).toEqual({ result: large, ran: true });
    expect(await open().once(key, HOUR, () => 'again')).toEqual({ result: large, ran: false });
  });

  describe('the lock', () => {
    it('that is lost while the work runs rejects, and nothing is kept', async () => {
      key = unique('lost');
      const locks = open();
      const refused = locks.once(key, HOUR, async (lock) => {
        await redis.master.call('DEL', `lock:${key}`);
        await until(() => lock.signal.aborted, { what: 'the loss is noticed' });
        return 'done';
      });
      await expect(refused).rejects.toBeInstanceOf(LockLostError);
      expect(await locks.inspect(key)).toBeNull();
    });

    it('whose key is taken just before the result is written rejects, and the other lock stays', async () => {
      key = unique('taken');
      const [locks, other] = [open(), open()];
      const refused = locks.once(key, { ...HOUR, renew: false }, async () => {
        await other.forceRelease(key);
        await other.acquire(key);
        return 'done';
      });
      await expect(refused).rejects.toBeInstanceOf(LockLostError);
      expect(await locks.inspect(key)).toMatchObject({ owner: other.held[0]!.owner });
    });
  });

  describe('the write that keeps the result', () => {
    it('is asked again if its answer is lost, and the work does not run again', async () => {
      key = unique('lost-answer');
      await using link = await Link.to(redis.master);
      const [locks, other] = [open(link.url), open()];
      let runs = 0;
      const cut = link.afterRequest('the-result', (connection) => connection.cut());
      const running = locks.once(key, HOUR, async () => {
        runs++;
        return 'the-result';
      });
      await cut;
      expect(await running).toEqual({ result: 'the-result', ran: true });
      expect(await other.once(key, HOUR, () => runs++)).toEqual({ result: 'the-result', ran: false });
      expect(runs).toBe(1);
      for (const value of await values()) expect(value).toContain('"the-result"');
      await services.closeAll();
    });

    it('is sent again if the connection ends before it', async () => {
      key = unique('lost-request');
      await using link = await Link.to(redis.master);
      const locks = open(link.url);
      const cut = link.beforeRequest('the-result', (connection) => connection.cut());
      const running = locks.once(key, HOUR, () => 'the-result');
      await cut;
      expect(await running).toEqual({ result: 'the-result', ran: true });
      for (const value of await values()) expect(value).toContain('"the-result"');
      await services.closeAll();
    });

    it('is sent again with its text if the server has forgotten the script', async () => {
      const locks = open();
      for (const result of ['a', 'b', 'c']) {
        key = unique('flushed');
        await redis.master.call('SCRIPT', 'FLUSH');
        expect(await locks.once(key, HOUR, () => result)).toEqual({ result, ran: true });
        await redis.master.call('SCRIPT', 'FLUSH');
        expect(await locks.forceRelease(key)).toBe(true);
      }
    });

    it.each(['all', 2] as const)(
      'needs the replicas that the option replicas asks for (%p): one that is silent until the lease ends costs the result',
      async (replicas) => {
        key = unique('silent');
        const [locks, other] = [open(redis.url, { replicas }), open(redis.url, { replicas: 'majority' })];
        try {
          // The next poll sees, in this time, which replica has confirmed.
          const refused = locks.once(key, { ...HOUR, leaseTime: 2_500 }, async () => {
            await redis.replica(0).stop();
            return 'done';
          });
          await expect(refused).rejects.toThrow(
            /its lease ended before the result was confirmed, and nothing is kept: 1 of the 2 required replicas/,
          );
          await until(async () => (await other.inspect(key)) === null, { what: 'the result was taken back' });
          expect(await other.once(key, HOUR, () => 'next')).toEqual({ result: 'next', ran: true });
        } finally {
          redis.replica(0).resume();
        }
        await redis.waitUntilOnline();
      },
    );

    it('is confirmed by replicas that have only just connected: the result protects nothing', async () => {
      key = unique('young');
      const locks = open(redis.url, { quarantine: 3_000 });
      const options = { ...HOUR, leaseTime: 3_000, waitTime: '30s' } as const;
      const once = locks.once(key, options, async () => {
        for (const replica of redis.replicas) {
          await replica.call('CLIENT', 'KILL', 'TYPE', 'master');
          await redis.waitUntilOnline();
        }
        return 'done';
      });
      expect(await once).toEqual({ result: 'done', ran: true });
    }, 40_000);

    it('is refused if the memory of Redis is full: the lock is lost with that reason, and nothing is kept', async () => {
      key = unique('full');
      const locks = open();
      try {
        const refused = locks.once(key, { ...HOUR, leaseTime: 1_000 }, async () => {
          await redis.master.call('CONFIG', 'SET', 'maxmemory', '1mb');
          return 'done';
        });
        await expect(refused).rejects.toThrow(/nothing is kept: Redis at \S+ refused: OOM.*maxmemory/);
      } finally {
        await redis.master.call('CONFIG', 'SET', 'maxmemory', '0');
      }
      expect(await locks.once(key, HOUR, () => 'next')).toEqual({ result: 'next', ran: true });
    });
  });

  it('a deployment that mixes plain locks and once on one key never runs two at a time, and the work once', async () => {
    key = unique('mixed');
    const copies = [open(), open(), open(), open()];
    let [inside, most, runs] = [0, 0, 0];
    const during = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside--;
    };
    const old = (copy: LockService): Promise<unknown> =>
      copy.withLock(key, { waitTime: '2s' }, during).catch((error: unknown) => error);
    const recent = (copy: LockService): Promise<OnceResult<string>> =>
      copy.once(key, HOUR, async () => {
        runs++;
        await during();
        return 'done';
      });
    const locked = copies.flatMap((copy) => [old(copy), old(copy)]);
    const ran = copies.flatMap((copy) => [recent(copy), recent(copy)]);
    const late = copies.map(old);
    for (const each of await Promise.all(ran)) expect(each.result).toBe('done');
    expect(runs).toBe(1);
    // The plain locks that came behind the run are refused, as the key stays busy.
    const ends = await Promise.all([...locked, ...late]);
    for (const end of ends) if (end !== undefined) expect(end).toBeInstanceOf(LockContendedError);
    expect(
      ends.filter((end) => end instanceof Error && end.message.includes('keeps the result')),
    ).not.toEqual([]);
    expect(most).toBe(1);
  });

  it('a process that dies while the work runs leaves the work to the next, when its lease ends', async () => {
    key = unique('dead');
    await using link = await Link.to(redis.master);
    const [dead, other] = [open(link.url), open()];
    const refused = dead
      .once(key, { ...HOUR, leaseTime: 500 }, () => link.stall())
      .catch((error: unknown) => error);
    await until(() => other.isLocked(key), { what: 'the work has begun' });
    expect(await other.once(key, HOUR, () => 'next')).toEqual({ result: 'next', ran: true });
    expect(await refused).toBeInstanceOf(LockLostError);
    link.resume();
    link.cut();
    expect(await other.once(key, HOUR, () => 'again')).toEqual({ result: 'next', ran: false });
    await services.closeAll();
  });

  it('a result is read while the replicas are in quarantine, and kept for longer than the quarantine without a report', async () => {
    key = unique('quarantine');
    const first = open();
    await first.once(key, HOUR, () => 'done');
    const { locks } = services.open(redis.url, { quarantine: 3_600_000 });
    const reports: string[] = [];
    locks.reports.subscribe(({ code }) => reports.push(code));
    expect(await locks.once(key, HOUR, () => 'again')).toEqual({ result: 'done', ran: false });
    const { locks: short } = services.open(redis.url, { quarantine: 2_000 });
    short.reports.subscribe(({ code }) => reports.push(code));
    await until(async () => (await short.tryAcquire(key).catch(() => undefined)) === null, {
      within: 15_000,
      what: 'the quarantine is over, and the key found busy',
    });
    expect(reports).not.toContain('long-lease');
  });
});

describe('When Sentinel replaces the master', () => {
  it('a result is still kept, and work that runs meanwhile keeps its result on the successor', async () => {
    const redis = await startSentinels();
    const services = new RedisServices();
    try {
      const [one, other] = [0, 1].map(() => services.open(redis.connection).locks) as [
        LockService,
        LockService,
      ];
      await one.once('before', HOUR, () => 'first');
      const during = await one.once('during', HOUR, async () => {
        await redis.handOver();
        return 'second';
      });
      expect(during).toEqual({ result: 'second', ran: true });
      for (const [key, result] of [
        ['before', 'first'],
        ['during', 'second'],
      ] as const)
        expect(await other.once(key, HOUR, () => 'again')).toEqual({ result, ran: false });
    } finally {
      await services.closeAll();
      await redis.dispose();
    }
  }, 60_000);
});

describe('In a Cluster', () => {
  it('work runs once for all processes, and its result can be removed', async () => {
    await using cluster = await startCluster();
    const services = new RedisServices();
    const copies = [0, 1, 2].map(() => services.open(cluster.connection).locks);
    for (const key of ['a', 'b', 'c', 'd']) {
      let runs = 0;
      const results = await Promise.all(
        Array.from({ length: 9 }, (_, i) => copies[i % 3]!.once(key, HOUR, () => ++runs)),
      );
      expect(results.map(({ result }) => result)).toEqual(Array(9).fill(1));
      expect(await copies[0]!.forceRelease(key)).toBe(true);
      expect(await copies[1]!.once(key, HOUR, () => 'next')).toEqual({ result: 'next', ran: true });
    }
    await services.closeAll();
  });
});
