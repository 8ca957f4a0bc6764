import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Lock } from '../../lib/lock/lock.js';
import { MARK_TIME } from '../../lib/store/lock-store.js';
import { settled } from '../support/manual-clock.js';
import { fakeService, type FakeService } from './fake-service.js';

const READER = { limit: Infinity, waitTime: 60_000 };

describe('Callers of one process that wait for a key with several holders', () => {
  let clock: FakeService['clock'];
  let store: FakeService['store'];
  let locks: FakeService['locks'];
  let held: FakeService['held'];
  let granted: Lock[];

  const call = async (count: number, options = READER): Promise<void> => {
    for (let i = 0; i < count; i++) void locks.acquire('k', options).then((lock) => granted.push(lock));
    await settled();
  };
  const change = async (): Promise<void> => {
    store.changes.next({ key: 'k' });
    await settled();
  };

  beforeEach(() => {
    ({ clock, store, locks, held } = fakeService());
    granted = [];
  });

  it('get in in a few rounds: 1,000 readers behind a writer do not take 1,000 rounds', async () => {
    await call(1_000);
    expect(store.asked).toHaveLength(1);
    store.busy();
    await settled();
    expect(store.asked).toHaveLength(1);
    await change();
    const rounds: number[] = [];
    for (let answered = 1; answered < store.asked.length;) {
      const round = store.asked.slice(answered);
      answered = store.asked.length;
      rounds.push(round.length);
      for (const asked of round) store.grant(asked);
      await settled();
    }
    expect(granted).toHaveLength(1_000);
    expect(rounds.slice(0, 5)).toEqual([1, 2, 4, 8, 16]);
    expect(Math.max(...rounds)).toBe(256);
    expect(rounds.length).toBeLessThan(15);
  });

  it('ask one at a time again after a refusal, and sleep without asking', async () => {
    await call(20, { ...READER, limit: 4 });
    for (const [from, to] of [
      [0, 1],
      [1, 3],
    ]) {
      for (const asked of store.asked.slice(from, to)) store.grant(asked);
      await settled();
    }
    expect(store.asked).toHaveLength(7);
    store.grant(store.asked[3]);
    for (const asked of store.asked.slice(4)) store.full(asked);
    await settled();
    expect(store.asked).toHaveLength(7);
    expect(granted).toHaveLength(4);
    await clock.advance(200);
    await change();
    expect(store.asked).toHaveLength(8);
    store.grant();
    await settled();
    // The width has grown from one again.
    expect(store.asked).toHaveLength(10);
  });

  it('stay behind a writer that came before them', async () => {
    await call(1);
    store.grant();
    await call(1, { limit: 1, waitTime: 60_000 });
    await call(50);
    store.full(store.last, { holders: 1, isMarked: true });
    await settled();
    expect(store.asked).toHaveLength(2);
    await change();
    await clock.advance(1);
    expect(store.asked).toHaveLength(3);
    expect(store.last.request).toMatchObject({ limit: 1, isShared: true });
    store.grant();
    await settled();
    expect(store.last.request.limit).toBe(Infinity);
    expect(store.asked).toHaveLength(4);
  });

  it('do not overtake a writer among them', async () => {
    await call(4);
    await call(1, { limit: 1, waitTime: 60_000 });
    await call(10);
    store.grant();
    await settled();
    for (const asked of store.asked.slice(1)) store.grant(asked);
    await settled();
    expect(store.asked.map(({ request }) => request.limit)).toEqual([Infinity, Infinity, Infinity, Infinity]);
    store.grant();
    await settled();
    expect(store.last.request.limit).toBe(1);
    expect(store.asked).toHaveLength(5);
  });

  it('do not ask at each of a thousand changes a second', async () => {
    await call(1);
    for (let ms = 0; ms < 1_000; ms++) {
      for (const asked of store.asked) store.full(asked);
      await change();
      await clock.advance(1);
    }
    expect(store.asked.length).toBeGreaterThan(40);
    expect(store.asked.length).toBeLessThan(80);
  });

  it('ask at once after a change of a key that was quiet', async () => {
    await call(1);
    store.full();
    await clock.advance(150);
    await change();
    expect(store.asked).toHaveLength(2);
  });

  it('keep their mark by asking, and ask when the first holder may end', async () => {
    await call(1, { limit: 1, waitTime: 60_000 });
    store.full(store.last, { holders: 9, isMarked: true }, 30_000);
    await clock.advance((MARK_TIME / 3) * 1.25);
    expect(store.asked).toHaveLength(2);
    store.full(store.last, { holders: 9, isMarked: false }, 300);
    await clock.advance(301);
    expect(store.asked).toHaveLength(3);
    expect(store.watched).toEqual([]);
  });

  it.each([
    [3, /is held by 3 callers, among them rl:other-host:1:3 and did not become free/],
    [0, /is kept for a waiting caller with a smaller limit and did not become free/],
  ])('are told how many callers hold the key: %d', async (holders, says) => {
    const refused = expect(locks.acquire('k', { limit: 4, waitTime: 100 })).rejects.toMatchObject({
      holders,
      message: expect.stringMatching(says),
    });
    await settled();
    store.full(store.last, { holders, isMarked: false });
    await clock.advance(200);
    await refused;
  });

  describe('A holder', () => {
    const keep = async (limit: number): Promise<Lock> => {
      const lock = await held('k', { limit, leaseTime: 9_000 });
      await clock.advance(10);
      store.watched.length = 0;
      return lock;
    };

    it('answers notices by looking at most every 50 ms, and never by a renewal', async () => {
      await keep(Infinity);
      for (let ms = 0; ms < 1_000; ms += 2) {
        await change();
        await clock.advance(2);
      }
      expect(store.renewals).toHaveLength(0);
      expect(store.watched.length).toBeGreaterThan(15);
      expect(store.watched.length).toBeLessThan(23);
      await locks.close();
      expect(clock.timers).toBe(0);
    });

    it('is told of its loss by the look', async () => {
      const lock = await keep(4);
      store.gone = 'k';
      await change();
      expect(lock.signal.aborted).toBe(true);
    });

    it('looks once more if the key changed after the last look', async () => {
      const lock = await keep(4);
      await change();
      await change();
      store.gone = 'k';
      expect(lock.signal.aborted).toBe(false);
      await clock.advance(50);
      expect(lock.signal.aborted).toBe(true);
    });

    it('of the mutex still renews at a notice, also beside a reader of this process that is not lost yet', async () => {
      await keep(Infinity);
      await keep(1);
      await change();
      expect(store.renewals.map(({ lock }) => lock.limit)).toEqual([1]);
      expect(store.watched).toHaveLength(1);
    });

    it('renews after the connection was lost', async () => {
      await keep(4);
      store.changes.next({ every: true });
      await settled();
      expect(store.renewals).toHaveLength(1);
    });
  });
});
