import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { LockContendedError, LockKeyError, LockLostError, LockOptionsError } from '../../lib/lock/errors.js';
import type { LockEvent } from '../../lib/lock/events.js';
import { LockService } from '../../lib/lock/lock-service.js';
import { MemoryServer } from '../../lib/store/memory/memory-server.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { systemClock } from '../../lib/common/clock.js';
import { lockDefaults } from '../support/lock-defaults.js';
import { until } from '../support/eventually.js';

describe('With a limit', () => {
  let one: LockService;
  let other: LockService;
  beforeEach(() => {
    const server = new MemoryServer(systemClock);
    [one, other] = [0, 1].map(
      () => new LockService(new MemoryStore(systemClock, server), lockDefaults()),
    ) as [LockService, LockService];
  });
  afterEach(() => Promise.all([one.close(), other.close()]));

  const reader = { limit: Infinity };

  it.each([0, -1, 1.5, NaN, 1_000_001, '4', null, {}])(
    '%p is refused before anything is asked',
    async (limit) => {
      const options = { limit: limit as number };
      for (const taking of [one.acquire('k', options), one.withLock('k', options, () => 1)])
        await expect(taking).rejects.toThrow(LockOptionsError);
      await expect(one.tryAcquire('k', options)).rejects.toThrow(/limit.*whole number from 1 to 1000000/);
    },
  );

  it.each([1, 2, 1_000_000, Infinity])(
    'of %p the lock, its event and an inspection say so',
    async (limit) => {
      const events: LockEvent[] = [];
      one.events.subscribe((event) => events.push(event));
      const lock = await one.acquire('k', { limit });
      expect(lock.limit).toBe(limit);
      expect(events).toMatchObject([{ type: 'acquired', limit }]);
      const info = { key: 'k', owner: lock.owner, fencingToken: lock.fencingToken, limit, holders: 1 };
      expect(await other.inspect('k')).toMatchObject(info);
    },
  );

  it('all holders are inspected, and one of them can be taken away', async () => {
    const first = await one.acquire('k', { limit: 3, leaseTime: 15_000 });
    const second = await other.acquire('k', { limit: 2, leaseTime: 5_000 });
    const infos = await one.inspectAll('k');
    expect(infos.map(({ owner, limit, holders }) => [owner, limit, holders])).toEqual([
      [second.owner, 2, 2],
      [first.owner, 3, 2],
    ]);
    expect(await one.inspect('k')).toEqual(expect.objectContaining({ owner: second.owner }));
    expect(await one.forceRelease('k', 'rl:nobody')).toBe(false);
    expect(await one.forceRelease('k', second.owner)).toBe(true);
    await until(() => second.signal.aborted, { what: 'the holder was told' });
    expect(first.held).toBe(true);
    expect(await one.inspectAll('free')).toEqual([]);
  });

  it('an empty owner does not stand for all owners', async () => {
    const lock = await one.acquire('k', { limit: 2 });
    for (const owner of ['', null, 5, {}])
      await expect(one.forceRelease('k', owner as string)).rejects.toThrow(/^The owner must be a text/);
    expect(lock.held).toBe(true);
    expect(await one.isLocked('k')).toBe(true);
    expect(await one.forceRelease('k', undefined)).toBe(true);
  });

  it('a refused caller is told how many hold the key', async () => {
    const owners = [await one.acquire('k', { limit: 2 }), await one.acquire('k', { limit: 2 })].map(
      ({ owner }) => owner,
    );
    const error = await other.acquire('k', { limit: 2, waitTime: 0 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LockContendedError);
    expect(error).toMatchObject({
      holders: 2,
      message: expect.stringMatching(/held by 2 callers, among them rl:/),
    });
    expect(owners).toContain((error as LockContendedError).owner);
    expect(await other.tryAcquire('k', { limit: 2 })).toBeNull();
  });

  it('a loss does not promise that fencing keeps the writes out', async () => {
    const [shared, alone] = [await one.acquire('shared', reader), await one.acquire('alone')];
    await other.forceRelease('shared');
    await other.forceRelease('alone');
    await until(() => shared.signal.aborted && alone.signal.aborted, { what: 'the holders were told' });
    const messageOf = (reason: unknown): string => (reason as LockLostError).because('x').message;
    expect(messageOf(shared.signal.reason)).toMatch(/limit above 1 its fencing token alone does not/);
    expect(messageOf(alone.signal.reason)).toMatch(/refused by a fenced resource\.$/);
  });

  describe('work inside a lock on the same key', () => {
    it.each([
      ['a reader in a reader', Infinity, Infinity],
      ['a reader in a writer', 1, Infinity],
      ['a permit in a stricter permit', 2, 4],
      ['a writer in a writer', 1, 1],
    ])('joins it: %s', async (_, outer, inner) => {
      await one.withLock('k', { limit: outer }, (held) =>
        one.withLock('k', { limit: inner }, async (lock) => {
          expect([lock.owner, lock.limit]).toEqual([held.owner, outer]);
          expect(await one.inspectAll('k')).toHaveLength(1);
        }),
      );
    });

    it.each([
      ['a writer in a reader', Infinity, 1],
      ['a stricter permit in a permit', 4, 2],
      ['a permit in a reader', Infinity, 4],
    ])('is refused at once, not after a deadlock: %s', async (_, outer, inner) => {
      await one.withLock('k', { limit: outer }, async () => {
        const options = { limit: inner, waitTime: Infinity };
        for (const taking of [
          one.withLock('k', options, () => 1),
          one.withLock('k', { ...options, reentrant: false }, () => 1),
          one.acquire('k', options),
          one.withLock(['j', 'k'], options, () => 1),
        ])
          await expect(taking).rejects.toThrow(LockKeyError);
        await expect(one.tryAcquire('k', { limit: inner })).rejects.toThrow(
          /with limit .* here: this context holds/,
        );
      });
      expect(await one.isLocked('k')).toBe(false);
    });

    it('joins the outer lock that is strict enough, behind one that is not', async () => {
      await one.withLock('k', { limit: 2 }, (outer) =>
        one.withLock('k', { limit: 5, reentrant: false }, () =>
          one.withLock('k', { limit: 3 }, (lock) => expect(lock.owner).toBe(outer.owner)),
        ),
      );
    });
  });

  it('minHoldTime keeps one part busy, and maxHoldTime ends one lock', async () => {
    await (await one.acquire('k', { limit: 2, minHoldTime: 300 })).release();
    await one.acquire('k', { limit: 2, leaseTime: 200, maxHoldTime: 1 });
    expect(await one.tryAcquire('k', { limit: 2 })).toBeNull();
    const lock = await other.acquire('k', { limit: 2, waitTime: 5_000 });
    await lock.release();
  });

  it('of 3, twenty callers of two processes are never more than 3 at once, and all get their turn', async () => {
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        (i % 2 ? one : other).withLock('k', { limit: 3 }, async () => {
          most = Math.max(most, ++inside);
          await sleep(5);
          inside--;
        }),
      ),
    );
    expect(most).toBe(3);
  });
});
