import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../lib/common/clock.js';
import type {
  AcquireOutcome,
  AcquireRequest,
  HeldKeys,
  InspectOutcome,
  KeyChange,
  LockStore,
} from '../../lib/store/lock-store.js';
import { until } from '../support/eventually.js';

/** One set of data that several stores use, as several processes use one Redis. */
export interface SharedData {
  /** A further store on the data, open. */
  open(): LockStore;
  /** Writes, reads and removes a key behind the stores' backs; undefined where nothing but a store can. */
  readonly raw?: {
    set(key: string, value: string): Promise<void>;
    remove(key: string): Promise<void>;
    /** ms to live; negative where the key is not there. */
    ttl(key: string): Promise<number>;
  };
  dispose(): Promise<void>;
}

let count = 0;
const unique = (name: string): string => `${name}-${++count}`;

export function requestFor(keys: string | string[], overrides: Partial<AcquireRequest> = {}): AcquireRequest {
  return {
    keys: [keys].flat(),
    owner: `rl:test:1:${unique('owner')}`,
    leaseTime: 10_000,
    replicas: 'all',
    replicaTimeout: 2_000,
    waitUntil: systemClock.monotonic() + 5_000,
    ...overrides,
  };
}

export function granted(outcome: AcquireOutcome): Extract<AcquireOutcome, { kind: 'granted' }> {
  if (outcome.kind !== 'granted') throw new Error(`Not granted but ${JSON.stringify(outcome)}`);
  return outcome;
}

/** Takes the keys and answers what their holder needs. */
export async function take(
  store: LockStore,
  keys: string | string[],
  overrides: Partial<AcquireRequest> = {},
): Promise<HeldKeys> {
  const request = requestFor(keys, overrides);
  const { token, validity } = granted(await store.acquire(request).outcome);
  return { keys: request.keys, owner: request.owner, token, leaseTime: request.leaseTime, validity };
}

/** What every store promises: see `LockStore`. */
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
      it('tells the second who holds it and for how long', async () => {
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

      it('grants one of fifty that ask at once from two processes', async () => {
        const key = unique('key');
        const outcomes = await Promise.all(
          Array.from({ length: 50 }, (_, i) => (i % 2 ? one : other).acquire(requestFor(key)).outcome),
        );
        expect(outcomes.filter(({ kind }) => kind === 'granted')).toHaveLength(1);
        expect(outcomes.filter(({ kind }) => kind === 'busy')).toHaveLength(49);
      });

      it('grants it again after the release, to anybody', async () => {
        const key = unique('key');
        expect(await one.release(await take(one, key), 0)).toEqual({ kind: 'released', ours: true });
        await take(other, key);
      });

      it('grants it again when the lease has passed', async () => {
        const key = unique('key');
        await take(one, key, { leaseTime: 150 });
        await until(async () => (await other.acquire(requestFor(key)).outcome).kind === 'granted', {
          what: 'the lease has passed',
        });
      });

      it('lets one owner ask again, and keeps its token', async () => {
        const key = unique('key');
        const request = requestFor(key);
        const first = granted(await one.acquire(request).outcome);
        const second = granted(await one.acquire(request).outcome);
        expect(second.token).toBe(first.token);
      });
    });

    describe('fencing tokens', () => {
      it('grow with every grant of the key, whoever takes it', async () => {
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
      it('is ours a second time too, as long as nobody has taken a key since', async () => {
        const keys = [unique('key'), unique('key')];
        const held = await take(one, keys);
        await other.forceRelease(keys[1]!);
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
        for (const key of keys) expect(await other.inspect(key)).toEqual({ kind: 'free' });
      });

      it('does not prolong what keeps the key busy when it comes a second time', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await one.release(held, 2_000);
        expect(await one.release(held, 30_000)).toEqual({ kind: 'released', ours: true });
        expect(await one.renew(held, 30_000, 'cooldown')).toMatchObject({ kind: 'renewed' });
        const { holder } = (await other.inspect(key)) as Extract<InspectOutcome, { kind: 'held' }>;
        expect(holder.remainingTime).toBeLessThanOrEqual(2_000);
        await other.forceRelease(key);
      });

      it('is not ours after somebody took the key', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await other.forceRelease(key);
        const next = await take(other, key);
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: false });
        expect(await other.inspect(key)).toMatchObject({ kind: 'held', holder: { owner: next.owner } });
      });

      it('keeps the key busy for as long as it was told to', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await one.release(held, 250);
        expect((await other.acquire(requestFor(key)).outcome).kind).toBe('busy');
        await until(async () => (await other.acquire(requestFor(key)).outcome).kind === 'granted', {
          what: 'the key is free',
        });
      });
    });

    describe('a key that is only kept busy', () => {
      it('is nobody’s: no renewal brings it back, and its former owner can still let go of it', async () => {
        const key = unique('key');
        const held = await take(one, key);
        expect(await one.release(held, 5_000)).toEqual({ kind: 'released', ours: true });
        expect(await one.renew(held, 10_000)).toEqual({ kind: 'gone', key });
        const { holder } = (await other.inspect(key)) as Extract<InspectOutcome, { kind: 'held' }>;
        expect(holder).toMatchObject({ owner: held.owner, token: held.token, inCooldown: true });
        expect(holder.remainingTime).toBeLessThanOrEqual(5_000);
        expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
        expect(await other.inspect(key)).toEqual({ kind: 'free' });
      });

      it('can be kept for longer than its lease, confirmed like a renewal', async () => {
        const key = unique('key');
        const held = await take(one, key);
        expect(await one.renew(held, 30_000, 'cooldown')).toMatchObject({ kind: 'renewed' });
        expect(await other.inspect(key)).toMatchObject({ holder: { owner: held.owner, inCooldown: true } });
        expect(await one.renew(held, 10_000)).toEqual({ kind: 'gone', key });
        await one.release(held, 0);
      });
    });

    describe('renewal', () => {
      it('moves the end of the lease', async () => {
        const key = unique('key');
        const held = await take(one, key, { leaseTime: 500 });
        const outcome = await one.renew(held, 20_000);
        expect(outcome).toMatchObject({ kind: 'renewed' });
        const { validity } = outcome as Extract<typeof outcome, { kind: 'renewed' }>;
        expect(validity.remaining(systemClock)).toBeGreaterThan(15_000);
        expect(await other.inspect(key)).toMatchObject({ kind: 'held', holder: { owner: held.owner } });
      });

      it('never creates a key: one that is gone is gone', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await other.forceRelease(key);
        expect(await one.renew(held, 10_000)).toEqual({ kind: 'gone', key });
        expect(await other.inspect(key)).toEqual({ kind: 'free' });
      });

      it('does not take the key back from its next owner', async () => {
        const key = unique('key');
        const held = await take(one, key);
        await other.forceRelease(key);
        const next = await take(other, key);
        expect(await one.renew(held, 10_000)).toEqual({ kind: 'gone', key });
        expect(await one.inspect(key)).toMatchObject({ holder: { owner: next.owner } });
      });

      it('is expired where the lease had ended before', async () => {
        const key = unique('key');
        const held = await take(one, key, { leaseTime: 120 });
        await until(() => held.validity.remaining(systemClock) === 0, { what: 'the lease has ended' });
        expect((await one.renew(held, 10_000)).kind).toBe('expired');
      });
    });

    describe('several keys', () => {
      it('are taken all or none', async () => {
        const [a, b, c] = [unique('a'), unique('b'), unique('c')];
        await take(one, b);
        expect(await other.acquire(requestFor([a, b, c])).outcome).toMatchObject({ kind: 'busy', key: b });
        expect(await one.inspect(a)).toEqual({ kind: 'free' });
        expect(await one.inspect(c)).toEqual({ kind: 'free' });
      });

      it('have one token, greater than every earlier one of each', async () => {
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

      it('are gone when one of them is', async () => {
        const [a, b] = [unique('a'), unique('b')];
        const held = await take(one, [a, b]);
        await other.forceRelease(b);
        expect(await one.renew(held, 10_000)).toEqual({ kind: 'gone', key: b });
      });
    });

    describe('an attempt that is abandoned', () => {
      it('leaves nothing behind when it was granted and nobody has heard of it', async () => {
        const key = unique('key');
        const attempt = one.acquire(requestFor(key));
        granted(await attempt.outcome);
        attempt.abandon();
        await until(async () => (await other.inspect(key)).kind === 'free', { what: 'it was taken back' });
      });

      it('leaves nothing behind', async () => {
        const key = unique('key');
        one.acquire(requestFor(key)).abandon();
        await until(async () => (await other.acquire(requestFor(key)).outcome).kind === 'granted', {
          what: 'the key is free',
        });
      });

      it('leaves nothing behind when it was about to be granted', async () => {
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
      it('tell a free key from a held one', async () => {
        const key = unique('key');
        expect(await one.inspect(key)).toEqual({ kind: 'free' });
        expect(await one.forceRelease(key)).toEqual({ kind: 'done', wasHeld: false });
        await take(one, key);
        expect(await other.forceRelease(key)).toEqual({ kind: 'done', wasHeld: true });
        expect(await one.inspect(key)).toEqual({ kind: 'free' });
      });
    });

    describe('changes', () => {
      const keysOf = (store: LockStore): { seen: Set<string>; all: KeyChange[] } => {
        const seen = new Set<string>();
        const all: KeyChange[] = [];
        store.changes.subscribe((change) => {
          all.push(change);
          if ('key' in change) seen.add(change.key);
        });
        return { seen, all };
      };

      it('tell a waiter that a busy key was released', async () => {
        const key = unique('key');
        const held = await take(one, key);
        const waiter = opened();
        const { seen } = keysOf(waiter);
        expect((await waiter.acquire(requestFor(key)).outcome).kind).toBe('busy');
        seen.clear();
        await one.release(held, 0);
        await until(() => seen.has(key), { what: 'the waiter was told' });
      });

      it('tell a holder that its key was taken by force', async () => {
        const key = unique('key');
        const holder = opened();
        expect(await holder.watch(await take(holder, key))).toEqual({ kind: 'held' });
        const { seen } = keysOf(holder);
        await other.forceRelease(key);
        await until(() => seen.has(key), { what: 'the holder was told' });
      });

      it('tell a holder of each of its keys', async () => {
        const [a, b] = [unique('a'), unique('b')];
        const holder = opened();
        expect(await holder.watch(await take(holder, [a, b]))).toEqual({ kind: 'held' });
        const { seen } = keysOf(holder);
        for (const key of [b, a]) {
          await other.forceRelease(key);
          await until(() => seen.has(key), { what: `the holder was told of ${key}` });
        }
      });

      it('that came before a lock was watched are seen when it is', async () => {
        const [a, b] = [unique('a'), unique('b')];
        const kept = await take(one, unique('kept'));
        const lost = await take(one, [a, b]);
        const none = await take(one, unique('none'));
        await other.forceRelease(b);
        await other.forceRelease(none.keys[0]!);
        await take(other, none.keys[0]!);
        const answers = await Promise.all([kept, lost, none].map((each) => one.watch(each)));
        expect(answers).toEqual([
          { kind: 'held' },
          { kind: 'gone', key: b },
          { kind: 'gone', key: none.keys[0] },
        ]);
      });

      it('tell a holder that has renewed', async () => {
        const key = unique('key');
        const holder = opened();
        await holder.renew(await take(holder, key), 10_000);
        const { seen } = keysOf(holder);
        await other.forceRelease(key);
        await until(() => seen.has(key), { what: 'the holder was told' });
      });
    });

    describe('values behind the store', () => {
      const raw = (): NonNullable<SharedData['raw']> | undefined => data.raw;

      it('of another program are named and left alone', async () => {
        if (raw() === undefined) return expect(data.raw).toBeUndefined();
        const key = unique('key');
        await raw()!.set(key, 'a shopping basket');
        const foreign = { kind: 'foreign', key, found: expect.stringContaining('a shopping basket') };
        expect(await one.acquire(requestFor(key)).outcome).toMatchObject(foreign);
        expect(await one.inspect(key)).toMatchObject(foreign);
        expect(await one.forceRelease(key)).toMatchObject(foreign);
        expect(await raw()!.ttl(key)).toBe(-1);
      });

      it('keep the token of a released lock for a while: the next is greater, whatever the clock says', async () => {
        if (raw() === undefined) return expect(data.raw).toBeUndefined();
        const key = unique('key');
        await one.release(await take(one, key), 0);
        const ttl = await raw()!.ttl(key);
        expect(ttl).toBeGreaterThan(5_000);
        expect(ttl).toBeLessThanOrEqual(10_000);
        // What a server would have left whose clock is far ahead.
        await raw()!.set(key, '8000000000000000');
        const { token } = await take(other, key);
        expect(token).toBe(8_000_000_000_000_001);
      });

      it('outlive the lease by the clock allowance at the most', async () => {
        if (raw() === undefined) return expect(data.raw).toBeUndefined();
        const key = unique('key');
        await take(one, key, { leaseTime: 5_000 });
        const ttl = await raw()!.ttl(key);
        expect(ttl).toBeGreaterThan(5_000);
        expect(ttl).toBeLessThanOrEqual(6_000);
      });
    });

    describe('the end', () => {
      it('answers what is pending, and everything after it, as unavailable', async () => {
        const store = opened();
        const key = unique('key');
        await take(store, unique('warm'));
        const pending = store.acquire(requestFor(key));
        await store.close();
        expect(['unavailable', 'granted']).toContain((await pending.outcome).kind);
        expect((await store.acquire(requestFor(unique('key'))).outcome).kind).toBe('unavailable');
        expect((await store.inspect(key)).kind).toMatch(/unavailable|free|held/);
      });

      it('comes once, however often it is asked for', async () => {
        const store = opened();
        await Promise.all([store.close(), store.close()]);
        await store.close();
      });
    });
  });
}
