import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../lib/common/clock.js';
import type { AcquireOutcome, InspectOutcome, LockStore } from '../../lib/store/lock-store.js';
import { until } from '../support/eventually.js';
import { describeChanges } from './changes-contract.js';
import { describeKeptResults } from './kept-contract.js';
import { describeListing } from './listing-contract.js';
import { describeLimit } from './limit-contract.js';
import { granted, requestFor, take, unique } from './requests.js';

/** One set of data for several stores, as several processes use one Redis. */
export interface SharedData {
  /** Opens another store on the data. */
  open(): LockStore;
  /** Access to keys without a store. Undefined: only a store has access. */
  readonly raw?: {
    set(key: string, value: string): Promise<void>;
    remove(key: string): Promise<void>;
    /** ms to live. Negative: the key is not there or does not expire. */
    ttl(key: string): Promise<number>;
  };
  dispose(): Promise<void>;
}

/** The promises of every store, see `LockStore`. */
export function describeLockStore(name: string, start: () => Promise<SharedData>): void {
  describe(`${name} keeps the contract of a lock store`, () => {
    let data: SharedData;
    let one: LockStore;
    let other: LockStore;
    const extra: LockStore[] = [];
    const opened = (): LockStore => {
      const store = data.open();
      extra.push(store);
      return store;
    };

    beforeAll(async () => {
      data = await start();
      one = data.open();
      other = data.open();
    });
    afterEach(async () => {
      await Promise.all(extra.splice(0).map((store) => store.close()));
    });
    afterAll(async () => {
      await Promise.all([one.close(), other.close()]);
      await data.dispose();
    });

    describe('a key has one owner at a time', () => {
      it('tells the second caller the holder and the rest of the lease', async () => {
        const key = unique('key');
        const held = await take(one, key);
        const outcome = await other.acquire(requestFor(key)).outcome;
        expect(outcome).toMatchObject({
          kind: 'busy',
          key,
          holder: { owner: held.owner, token: held.token },
        });
        const { remainingTime } = (outcome as Extract<AcquireOutcome, { kind: 'busy' }>).holder;
        expect(remainingTime).toBeGreaterThan(5_000);
        expect(remainingTime).toBeLessThanOrEqual(11_000);
      });

      it('is granted to one of fifty callers that ask at once from two processes', async () => {
        const key = unique('key');
        const outcomes = await Promise.all(
          Array.from({ length: 50 }, (_, i) => (i % 2 ? one : other).acquire(requestFor(key)).outcome),
        );
        expect(outcomes.filter(({ kind }) => kind === 'granted')).toHaveLength(1);
        expect(outcomes.filter(({ kind }) => kind === 'busy')).toHaveLength(49);
      });

      it('is granted to any caller after the release', async () => {
        const key = unique('key');
        expect(await one.release(await take(one, key), 0)).toEqual({ kind: 'released', ours: true });
        await take(other, key);
      });

      it('is granted again when the lease has passed', async () => {
        const key = unique('key');
        await take(one, key, { leaseTime: 150 });
        await until(async () => (await other.acquire(requestFor(key)).outcome).kind === 'granted', {
          what: 'the lease has passed',
        });
      });

      it('is granted to the same owner again, with the same token', async () => {
        const key = unique('key');
        const request = requestFor(key);
        const first = granted(await one.acquire(request).outcome);
        const second = granted(await one.acquire(request).outcome);
        expect(second.token).toBe(first.token);
      });
    });

    describe('fencing tokens', () => {
      it('grow with every grant of the key, in whichever store', async () => {
        const key = unique('key');
        let last = 0;
        for (let i = 0; i < 10; i++) {
          const store = i % 2 ? one : other;
          const held = await take(store, key);
          expect(Number.isSafeInteger(held.token)).toBe(true);
          expect(held.token).toBeGreaterThan(last);
          last = held.token;
          await store.release(held, 0);
        }
      });

      it('grow after a key was taken by force', async () => {
        const key = unique('key');
        const { token } = await take(one, key);
        await other.forceRelease(key);
        expect((await take(other, key)).token).toBeGreaterThan(token);
      });
    });

    describe('release', () => {
      it('is ours a second time too, as long as no other owner has taken a key since', async () => {
        const keys = [unique('key'), unique('key')];
        const held = await take(one, keys);
        await other.forceRelease(keys[1]!);
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
        for (const key of keys) expect(await other.inspect(key)).toEqual({ kind: 'free' });
      });

      it('does not prolong the cooldown of the key a second time', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await one.release(held, 2_000);
        expect(await one.release(held, 30_000)).toEqual({ kind: 'released', ours: true });
        expect(await one.renew(held, 30_000, 'cooldown').outcome).toMatchObject({ kind: 'renewed' });
        const { holder } = (await other.inspect(key)) as Extract<InspectOutcome, { kind: 'held' }>;
        expect(holder.remainingTime).toBeLessThanOrEqual(2_000);
        await other.forceRelease(key);
      });

      it('is not ours after another owner took the key', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await other.forceRelease(key);
        const next = await take(other, key);
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: false });
        expect(await other.inspect(key)).toMatchObject({ kind: 'held', holder: { owner: next.owner } });
      });

      it('keeps the key busy for the cooldown', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await one.release(held, 250);
        expect((await other.acquire(requestFor(key)).outcome).kind).toBe('busy');
        await until(async () => (await other.acquire(requestFor(key)).outcome).kind === 'granted', {
          what: 'the key is free',
        });
      });
    });

    describe('a key in its cooldown', () => {
      it('has no holder: no renewal brings it back, and its former owner can still free it', async () => {
        const key = unique('key');
        const held = await take(one, key);
        expect(await one.release(held, 5_000)).toEqual({ kind: 'released', ours: true });
        expect(await one.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key });
        const { holder } = (await other.inspect(key)) as Extract<InspectOutcome, { kind: 'held' }>;
        expect(holder).toMatchObject({ owner: held.owner, token: held.token, inCooldown: true });
        expect(holder.remainingTime).toBeLessThanOrEqual(5_000);
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
        expect(await other.inspect(key)).toEqual({ kind: 'free' });
      });

      it('can stay busy for longer than its lease, confirmed like a renewal', async () => {
        const key = unique('key');
        const held = await take(one, key);
        expect(await one.renew(held, 30_000, 'cooldown').outcome).toMatchObject({ kind: 'renewed' });
        expect(await other.inspect(key)).toMatchObject({ holder: { owner: held.owner, inCooldown: true } });
        expect(await one.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key });
        await one.release(held, 0);
      });
    });

    describe('renewal', () => {
      it('moves the end of the lease', async () => {
        const key = unique('key');
        const held = await take(one, key, { leaseTime: 500 });
        const outcome = await one.renew(held, 20_000).outcome;
        expect(outcome).toMatchObject({ kind: 'renewed' });
        const { validity } = outcome as Extract<typeof outcome, { kind: 'renewed' }>;
        expect(validity.remaining(systemClock)).toBeGreaterThan(15_000);
        expect(await other.inspect(key)).toMatchObject({ kind: 'held', holder: { owner: held.owner } });
      });

      it('never creates a key: a key that is gone stays gone', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await other.forceRelease(key);
        expect(await one.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key });
        expect(await other.inspect(key)).toEqual({ kind: 'free' });
      });

      it('does not take the key back from its next owner', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await other.forceRelease(key);
        const next = await take(other, key);
        expect(await one.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key });
        expect(await one.inspect(key)).toMatchObject({ holder: { owner: next.owner } });
      });

      it('is expired if the lease had ended before', async () => {
        const key = unique('key');
        const held = await take(one, key, { leaseTime: 120 });
        await until(() => held.validity.remaining(systemClock) === 0, { what: 'the lease has ended' });
        expect((await one.renew(held, 10_000).outcome).kind).toBe('expired');
      });
    });

    describe('several keys', () => {
      it('are all taken, or none', async () => {
        const [a, b, c] = [unique('a'), unique('b'), unique('c')];
        await take(one, b);
        expect(await other.acquire(requestFor([a, b, c])).outcome).toMatchObject({ kind: 'busy', key: b });
        expect(await one.inspect(a)).toEqual({ kind: 'free' });
        expect(await one.inspect(c)).toEqual({ kind: 'free' });
      });

      it('have one token, greater than every earlier token of each key', async () => {
        const [a, b] = [unique('a'), unique('b')];
        const earlier = await take(one, b);
        await one.release(earlier, 0);
        const both = await take(other, [a, b]);
        expect(both.token).toBeGreaterThan(earlier.token);
        for (const key of [a, b])
          expect(await one.inspect(key)).toMatchObject({ holder: { token: both.token, owner: both.owner } });
      });

      it('are released together', async () => {
        const [a, b] = [unique('a'), unique('b')];
        await one.release(await take(one, [a, b]), 0);
        for (const key of [a, b]) expect(await other.inspect(key)).toEqual({ kind: 'free' });
      });

      it('are gone if one of them is gone', async () => {
        const [a, b] = [unique('a'), unique('b')];
        const held = await take(one, [a, b]);
        await other.forceRelease(b);
        expect(await one.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key: b });
      });
    });

    describe('an attempt that is abandoned', () => {
      it('leaves nothing behind if it was granted and the caller does not know', async () => {
        const key = unique('key');
        const attempt = one.acquire(requestFor(key));
        granted(await attempt.outcome);
        attempt.abandon();
        await until(async () => (await other.inspect(key)).kind === 'free', {
          what: 'the attempt was taken back',
        });
      });

      it('leaves nothing behind', async () => {
        const key = unique('key');
        one.acquire(requestFor(key)).abandon();
        await until(async () => (await other.acquire(requestFor(key)).outcome).kind === 'granted', {
          what: 'the key is free',
        });
      });

      it('leaves nothing behind if it was about to be granted', async () => {
        const keys = Array.from({ length: 20 }, () => unique('key'));
        for (const key of keys) {
          const attempt = one.acquire(requestFor(key));
          setImmediate(() => attempt.abandon());
        }
        for (const key of keys) {
          await until(async () => (await other.inspect(key)).kind === 'free', { what: `${key} is free` });
        }
      });
    });

    describe('inspection and force', () => {
      it('tell a free key from a held key', async () => {
        const key = unique('key');
        expect(await one.inspect(key)).toEqual({ kind: 'free' });
        expect(await one.forceRelease(key)).toEqual({ kind: 'done', wasHeld: false });
        await take(one, key);
        expect(await other.forceRelease(key)).toEqual({ kind: 'done', wasHeld: true });
        expect(await one.inspect(key)).toEqual({ kind: 'free' });
      });
    });

    describeKeptResults(() => ({ one, other }));
    describeListing(() => ({ one, other, open: opened, raw: data.raw }));

    describeChanges(() => ({ one, other, open: opened }));
    describeLimit(() => ({ one, other, open: opened }));

    describe('values in Redis', () => {
      const raw = (): NonNullable<SharedData['raw']> | undefined => data.raw;

      it('of another program are named and not changed', async () => {
        if (raw() === undefined) return expect(data.raw).toBeUndefined();
        const key = unique('key');
        await raw()!.set(key, 'a shopping basket');
        const foreign = { kind: 'foreign', key, found: expect.stringContaining('a shopping basket') };
        expect(await one.acquire(requestFor(key)).outcome).toMatchObject(foreign);
        expect(await one.inspect(key)).toMatchObject(foreign);
        expect(await one.forceRelease(key)).toMatchObject(foreign);
        expect(await raw()!.ttl(key)).toBe(-1);
      });

      it('keep the token of a released lock for clockSkew: the next token is greater, whatever the clock says', async () => {
        if (raw() === undefined) return expect(data.raw).toBeUndefined();
        const key = unique('key');
        await one.release(await take(one, key), 0);
        const ttl = await raw()!.ttl(key);
        expect(ttl).toBeGreaterThan(500);
        expect(ttl).toBeLessThanOrEqual(1_000);
        // The value that a server whose clock is far ahead would have left.
        await raw()!.set(key, '8000000000000000');
        const { token } = await take(other, key);
        expect(token).toBe(8_000_000_000_000_001);
      });

      it('outlive the lease by at most clockSkew', async () => {
        if (raw() === undefined) return expect(data.raw).toBeUndefined();
        const key = unique('key');
        await take(one, key, { leaseTime: 5_000 });
        const ttl = await raw()!.ttl(key);
        expect(ttl).toBeGreaterThan(5_000);
        expect(ttl).toBeLessThanOrEqual(6_000);
      });
    });

    describe('the end', () => {
      it('answers pending and later requests as unavailable', async () => {
        const store = opened();
        const key = unique('key');
        await take(store, unique('warm'));
        const pending = store.acquire(requestFor(key));
        await store.close();
        expect(['unavailable', 'granted']).toContain((await pending.outcome).kind);
        expect((await store.acquire(requestFor(unique('key'))).outcome).kind).toBe('unavailable');
        expect((await store.inspect(key)).kind).toMatch(/unavailable|free|held/);
      });

      it('comes once, no matter how often close is called', async () => {
        const store = opened();
        await Promise.all([store.close(), store.close()]);
        await store.close();
      });
    });
  });
}
