import { describe, expect, it } from '@jest/globals';
import { systemClock } from '../../lib/common/clock.js';
import {
  MARK_TIME,
  type AcquireOutcome,
  type AcquireRequest,
  type HeldKeys,
  type InspectOutcome,
} from '../../lib/store/lock-store.js';
import { until } from '../support/eventually.js';
import type { StoresOnSameData } from './changes-contract.js';
import { granted, requestFor, take, unique } from './requests.js';

type Busy = Extract<AcquireOutcome, { kind: 'busy' }>;

/** The part of the contract of a lock store that concerns keys with several holders. */
export function describeLimit(stores: () => StoresOnSameData): void {
  const ask = (key: string, limit: number, rest: Partial<AcquireRequest> = {}) =>
    stores().other.acquire(requestFor(key, { limit, ...rest })).outcome;
  const takeAll = (key: string, limits: readonly number[]): Promise<HeldKeys[]> =>
    limits.reduce<Promise<HeldKeys[]>>(
      async (taken, limit) => [...(await taken), await take(stores().one, key, { limit })],
      Promise.resolve([]),
    );
  const holdersOf = async (key: string): Promise<number> => {
    const outcome = await stores().other.inspect(key);
    return outcome.kind === 'held' ? outcome.holders.length : 0;
  };

  describe('a limit', () => {
    it.each<[inside: number[], asked: number, expected: 'granted' | 'busy']>([
      [[], 4, 'granted'],
      [[4, 4, 4], 4, 'granted'],
      [[4, 4, 4, 4], 4, 'busy'],
      [[Infinity, Infinity, Infinity], Infinity, 'granted'],
      [[Infinity, Infinity], 1, 'busy'],
      [[1], 1, 'busy'],
      [[1], 4, 'busy'],
      [[1], Infinity, 'busy'],
      [[2, 2], 4, 'busy'],
      [[2], 4, 'granted'],
      [[4, 4, 4], 2, 'busy'],
      [[4], 2, 'granted'],
      [[4, 2], Infinity, 'busy'],
      [[1_000_000], 999_999, 'granted'],
    ])('%j inside, %d asks: %s', async (inside, asked, expected) => {
      const key = unique('key');
      await takeAll(key, inside);
      expect((await ask(key, asked)).kind).toBe(expected);
      expect(await holdersOf(key)).toBe(inside.length + (expected === 'granted' ? 1 : 0));
    });

    it('is never exceeded by fifty callers that ask at once from two processes', async () => {
      const key = unique('key');
      const { one, other } = stores();
      const outcomes = await Promise.all(
        Array.from(
          { length: 50 },
          (_, i) => (i % 2 ? one : other).acquire(requestFor(key, { limit: 7 })).outcome,
        ),
      );
      expect(outcomes.filter(({ kind }) => kind === 'granted')).toHaveLength(7);
      const busy = outcomes.filter((outcome): outcome is Busy => outcome.kind === 'busy');
      expect(busy).toHaveLength(43);
      for (const { holder, shared } of busy) {
        expect(shared).toEqual({ holders: 7, isMarked: false });
        expect(holder).toMatchObject({ owner: expect.stringMatching(/^rl:test:1:owner/), limit: 7 });
        expect(holder.remainingTime).toBeGreaterThan(5_000);
      }
    });

    it.each([
      [4, 2],
      [2, 4],
      [2, 1],
    ])('of %d and %d at once: no holder has more beside it than it allows', async (one, other) => {
      const key = unique('key');
      const outcomes = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(key, i % 2 ? one : other)));
      const inside = (await stores().one.inspect(key)) as Extract<InspectOutcome, { kind: 'held' }>;
      expect(outcomes.filter(({ kind }) => kind === 'granted')).toHaveLength(inside.holders.length);
      for (const { limit } of inside.holders) expect(inside.holders.length).toBeLessThanOrEqual(limit);
    });

    it('that is stricter keeps others out only while its holder is inside', async () => {
      const key = unique('key');
      const [, , strict] = await takeAll(key, [Infinity, Infinity, 3]);
      expect((await ask(key, Infinity)).kind).toBe('busy');
      await stores().one.release(strict!, 0);
      // More than the stricter holder allowed.
      for (let i = 0; i < 3; i++) expect((await ask(key, Infinity)).kind).toBe('granted');
    });

    it('lets the mutex in when all have left, and the next reader after the mutex', async () => {
      const key = unique('key');
      const readers = await takeAll(key, [Infinity, 5]);
      await stores().one.release(readers[0]!, 0);
      expect((await ask(key, 1)).kind).toBe('busy');
      await stores().one.release(readers[1]!, 0);
      const writer = await take(stores().other, key);
      expect((await ask(key, Infinity)).kind).toBe('busy');
      expect(await stores().other.release(writer, 0)).toEqual({ kind: 'released', ours: true });
      await takeAll(key, [Infinity, 5]);
    });

    it('counts for each of several keys: all are taken, or none', async () => {
      const [a, b, c] = [unique('a'), unique('b'), unique('c')];
      await takeAll(b, [2, 2]);
      const outcome = await stores().other.acquire(requestFor([a, b, c], { limit: 2 })).outcome;
      expect(outcome).toMatchObject({ kind: 'busy', key: b, shared: { holders: 2 } });
      for (const key of [a, c]) expect(await holdersOf(key)).toBe(0);
      const [held] = [await take(stores().one, [a, c], { limit: 2 })];
      const second = await take(stores().other, [c, a], { limit: 2 });
      expect(second.token).toBeGreaterThan(held.token);
      for (const key of [a, c]) expect(await holdersOf(key)).toBe(2);
      await stores().one.release(held, 0);
      for (const key of [a, c]) expect(await holdersOf(key)).toBe(1);
    });
  });

  describe('a holder among several', () => {
    it('is granted again as the same owner, with the same token, and counts once', async () => {
      const key = unique('key');
      const request = requestFor(key, { limit: 2 });
      const first = granted(await stores().one.acquire(request).outcome);
      await take(stores().other, key, { limit: 2 });
      expect(granted(await stores().one.acquire(request).outcome).token).toBe(first.token);
      expect(await holdersOf(key)).toBe(2);
    });

    it('has a token greater than every earlier token, across kinds of locks', async () => {
      const key = unique('key');
      let last = 0;
      for (const limit of [1, 3, 3, 1, Infinity, 2, 1, 1, 4]) {
        const held = await take(stores().one, key, { limit });
        expect(held.token).toBeGreaterThan(last);
        last = held.token;
        await stores().one.release(held, 0);
      }
      const permits = await takeAll(key, [3, 3]);
      await stores().other.forceRelease(key);
      expect((await take(stores().one, key)).token).toBeGreaterThan(permits[1]!.token);
    });

    it('ends by its own lease, whatever keeps the key alive', async () => {
      const key = unique('key');
      const { one, other } = stores();
      await take(one, key, { limit: Infinity, leaseTime: 150 });
      const live = await take(other, key, { limit: Infinity });
      await until(async () => (await holdersOf(key)) === 1, { what: 'the reader that died has ended' });
      expect(await other.renew(live, 10_000).outcome).toMatchObject({ kind: 'renewed' });
      expect((await ask(key, 2)).kind).toBe('granted');
    });

    it('is not renewed once it has ended, although the key is alive', async () => {
      const key = unique('key');
      const short = await take(stores().one, key, { limit: 2, leaseTime: 150 });
      const live = await take(stores().other, key, { limit: 2 });
      await until(async () => (await holdersOf(key)) === 1, { what: 'the lease has passed' });
      // A holder whose own clock is slow.
      const late = { ...short, validity: live.validity };
      expect(await stores().one.renew(late, 10_000).outcome).toEqual({ kind: 'gone', key });
      expect(await stores().one.watch(late)).toEqual({ kind: 'gone', key });
    });

    it('that has ended makes room', async () => {
      const key = unique('key');
      await take(stores().one, key, { limit: 2, leaseTime: 150 });
      await take(stores().one, key, { limit: 2 });
      expect((await ask(key, 2)).kind).toBe('busy');
      await until(async () => (await ask(key, 2)).kind === 'granted', { what: 'the lease has passed' });
    });

    it('renews and releases its own part only', async () => {
      const key = unique('key');
      const { one, other } = stores();
      const short = await take(one, key, { limit: 3, leaseTime: 500 });
      const long = await take(other, key, { limit: 3 });
      const renewed = await one.renew(short, 20_000).outcome;
      expect(renewed).toMatchObject({ kind: 'renewed' });
      const { holders } = (await one.inspect(key)) as Extract<InspectOutcome, { kind: 'held' }>;
      expect(holders.map(({ owner }) => owner)).toEqual([long.owner, short.owner]);
      expect(holders[1]!.remainingTime).toBeGreaterThan(15_000);
      expect(await one.release(short, 0)).toEqual({ kind: 'released', ours: true });
      expect(await one.renew(short, 10_000).outcome).toEqual({ kind: 'gone', key });
      expect(await other.watch(long)).toEqual({ kind: 'held' });
      expect(await one.watch(short)).toEqual({ kind: 'gone', key });
    });

    it('is gone after it was taken by force, and the others are not', async () => {
      const key = unique('key');
      const [a, b] = await takeAll(key, [2, 2]);
      expect(await stores().other.forceRelease(key, a!.owner)).toEqual({ kind: 'done', wasHeld: true });
      expect(await stores().other.forceRelease(key, a!.owner)).toEqual({ kind: 'done', wasHeld: false });
      expect(await stores().one.renew(a!, 10_000).outcome).toEqual({ kind: 'gone', key });
      expect(await stores().one.release(a!, 0)).toEqual({ kind: 'released', ours: false });
      expect(await stores().one.renew(b!, 10_000).outcome).toMatchObject({ kind: 'renewed' });
      expect(await stores().other.forceRelease(key)).toEqual({ kind: 'done', wasHeld: true });
      expect(await stores().one.renew(b!, 10_000).outcome).toEqual({ kind: 'gone', key });
    });

    it('is released a second time, as long as no other owner was granted the key since', async () => {
      const key = unique('key');
      const [, b] = await takeAll(key, [3, 3]);
      for (let i = 0; i < 2; i++)
        expect(await stores().one.release(b!, 0)).toEqual({ kind: 'released', ours: true });
      await take(stores().other, key, { limit: 3 });
      expect(await stores().one.release(b!, 0)).toEqual({ kind: 'released', ours: false });
    });

    it('keeps its part busy for the cooldown, and no renewal brings it back', async () => {
      const key = unique('key');
      const { one } = stores();
      const held = await take(one, key, { limit: 2 });
      expect(await one.release(held, 5_000)).toEqual({ kind: 'released', ours: true });
      expect(await one.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key });
      expect(await one.renew(held, 30_000, 'cooldown').outcome).toMatchObject({ kind: 'renewed' });
      await take(one, key, { limit: 2 });
      expect((await ask(key, 2)).kind).toBe('busy');
      const { holder } = (await one.inspect(key)) as Extract<InspectOutcome, { kind: 'held' }>;
      expect(holder).toMatchObject({ owner: held.owner, inCooldown: true, limit: 2 });
      expect(holder.remainingTime).toBeLessThanOrEqual(5_000);
      expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
      expect((await ask(key, 2)).kind).toBe('granted');
    });

    it('leaves nothing behind if its attempt is abandoned', async () => {
      const key = unique('key');
      await take(stores().one, key, { limit: 3 });
      const attempts = Array.from({ length: 2 }, () => stores().one.acquire(requestFor(key, { limit: 3 })));
      await attempts[0]!.outcome;
      for (const attempt of attempts) attempt.abandon();
      await until(async () => (await holdersOf(key)) === 1, { what: 'the attempts were taken back' });
    });
  });

  describe('an owner with a smaller limit that waits', () => {
    const wantedUntil = (ms: number): { wantedUntil: number } => ({
      wantedUntil: systemClock.monotonic() + ms,
    });

    it('keeps out owners with a larger limit, and is granted the key before them', async () => {
      const key = unique('key');
      const [reader] = await takeAll(key, [Infinity]);
      expect(await ask(key, 1, wantedUntil(5_000))).toMatchObject({
        kind: 'busy',
        shared: { holders: 1, isMarked: true },
      });
      expect(await ask(key, Infinity)).toMatchObject({ shared: { holders: 1, isMarked: false } });
      await stores().one.release(reader!, 0);
      const kept = await ask(key, Infinity);
      expect(kept).toMatchObject({ kind: 'busy', holder: { owner: '' }, shared: { holders: 0 } });
      expect((kept as Busy).holder.remainingTime).toBeLessThanOrEqual(MARK_TIME);
      const writer = await take(stores().one, key);
      await stores().one.release(writer, 0);
      expect((await ask(key, Infinity)).kind).toBe('granted');
    });

    it('keeps them out no longer than it waits', async () => {
      const key = unique('key');
      await takeAll(key, [Infinity]);
      await ask(key, 1, wantedUntil(200));
      const kept = await ask(key, Infinity);
      // The writer may have given up already.
      if (kept.kind === 'busy') expect(kept.holder.remainingTime).toBeLessThanOrEqual(200);
      await until(async () => (await ask(key, Infinity)).kind === 'granted', { what: 'the mark has ended' });
    });

    it('keeps out no owner if it does not wait, nor owners with the same limit', async () => {
      const key = unique('key');
      await takeAll(key, [Infinity, Infinity]);
      await ask(key, 2, wantedUntil(0));
      expect((await ask(key, 3)).kind).toBe('granted');
      await ask(key, 2, wantedUntil(5_000));
      const outcome = await ask(key, 2, wantedUntil(5_000));
      expect(outcome).toMatchObject({ shared: { holders: 3, isMarked: true } });
      expect((await ask(key, 4)).kind).toBe('busy');
    });
  });
}
