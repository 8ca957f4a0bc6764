import { describe, expect, it } from '@jest/globals';
import { systemClock } from '../../lib/common/clock.js';
import {
  concerns,
  MOST_RESULT_BYTES,
  type HeldKeys,
  type KeyChange,
  type KeptResult,
  type LockStore,
  type RenewOutcome,
} from '../../lib/store/lock-store.js';
import { until } from '../support/eventually.js';
import { requestFor, take, unique } from './requests.js';

/** The promises of every store about kept results, see `ResultToKeep`. */
export function describeKeptResults(stores: () => { one: LockStore; other: LockStore }): void {
  describe('a kept result', () => {
    const keep = (
      store: LockStore,
      lock: HeldKeys,
      result: string,
      keepFor = 30_000,
    ): Promise<RenewOutcome> => store.renew(lock, keepFor, { result, replicas: 'all' }).outcome;

    /** A key that keeps `{"a":1}`. */
    const kept = async (keepFor?: number): Promise<{ key: string; held: HeldKeys }> => {
      const key = unique('kept');
      const held = await take(stores().one, key);
      expect(await keep(stores().one, held, '{"a":1}', keepFor)).toMatchObject({ kind: 'renewed' });
      return { key, held };
    };

    it('takes the place of the lock, and every store reads it', async () => {
      const { key, held } = await kept();
      for (const store of [stores().one, stores().other]) {
        const found = (await store.inspect(key)) as KeptResult;
        expect(found).toMatchObject({
          kind: 'kept',
          result: '{"a":1}',
          holder: { owner: held.owner, token: held.token, inCooldown: false, keepsResult: true },
        });
        expect(found.holder.remainingTime).toBeGreaterThan(25_000);
        expect(found.holder.remainingTime).toBeLessThanOrEqual(30_000);
      }
    });

    it('keeps the key busy for every lock, also for its own owner', async () => {
      const { key, held } = await kept();
      const { one, other } = stores();
      const busy = { kind: 'busy', key, holder: { owner: held.owner, token: held.token, keepsResult: true } };
      expect(await other.acquire(requestFor(key)).outcome).toMatchObject(busy);
      expect(await one.acquire(requestFor(key, { owner: held.owner })).outcome).toMatchObject(busy);
      const free = unique('free');
      expect(await other.acquire(requestFor([free, key])).outcome).toMatchObject(busy);
      expect(await other.inspect(free)).toEqual({ kind: 'free' });
    });

    it('is no lock: renewal, cooldown, release and watch of its owner find none, and leave it alone', async () => {
      const { key, held } = await kept();
      const { one, other } = stores();
      expect(await one.renew(held, 10_000).outcome).toEqual({ kind: 'gone', key });
      expect(await one.renew(held, 10_000, 'cooldown').outcome).toEqual({ kind: 'gone', key });
      expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: false });
      expect(await one.release(held, 5_000)).toEqual({ kind: 'released', ours: false });
      expect(await one.watch(held)).toEqual({ kind: 'gone', key });
      expect(await other.inspect(key)).toMatchObject({ kind: 'kept', result: '{"a":1}' });
    });

    it('is never kept by an owner that has lost the key', async () => {
      const { one, other } = stores();
      const key = unique('kept');
      const held = await take(one, key);
      await other.forceRelease(key);
      expect(await keep(one, held, '1')).toEqual({ kind: 'gone', key });
      expect(await other.inspect(key)).toEqual({ kind: 'free' });
      const next = await take(other, key);
      expect(await keep(one, held, '1')).toEqual({ kind: 'gone', key });
      expect(await other.inspect(key)).toMatchObject({ kind: 'held', holder: { owner: next.owner } });
      await keep(other, next, '2');
      expect(await keep(one, held, '1')).toEqual({ kind: 'gone', key });
      expect(await other.inspect(key)).toMatchObject({ kind: 'kept', result: '2' });
    });

    it('is not kept once the lease has ended', async () => {
      const held = await take(stores().one, unique('kept'), { leaseTime: 120 });
      await until(() => held.validity.remaining(systemClock) === 0, { what: 'the lease has ended' });
      expect((await keep(stores().one, held, '1')).kind).toBe('expired');
    });

    it('is removed by force like a lock, and the next token is greater', async () => {
      const { key, held } = await kept();
      const { other } = stores();
      expect(await other.forceRelease(key)).toEqual({ kind: 'done', wasHeld: true });
      expect(await other.inspect(key)).toEqual({ kind: 'free' });
      expect(await other.forceRelease(key)).toEqual({ kind: 'done', wasHeld: false });
      expect((await take(other, key)).token).toBeGreaterThan(held.token);
    });

    it('ends after its time, whatever the lease was', async () => {
      const { key } = await kept(200);
      await until(async () => (await stores().other.acquire(requestFor(key)).outcome).kind === 'granted', {
        what: 'the key is free',
      });
    });

    it.each([
      ['nothing', ''],
      ['a number that looks like a token', '1795531756566206'],
      ['text that looks like a lock', 'rl:a:1 1795531756566206'],
      ['Unicode and line ends', JSON.stringify({ text: 'ü€😀', raw: 'a\r\nb' }) + '\r\n'],
      ['64 KiB', 'x'.repeat(MOST_RESULT_BYTES)],
    ])('may be %s', async (_, result) => {
      const { one, other } = stores();
      const key = unique('kept');
      const held = await take(one, key);
      expect(await keep(one, held, result)).toMatchObject({ kind: 'renewed' });
      expect(await other.inspect(key)).toMatchObject({ kind: 'kept', result });
      expect(await other.acquire(requestFor(key)).outcome).toMatchObject({
        kind: 'busy',
        holder: { owner: held.owner, token: held.token, keepsResult: true },
      });
    });

    it('is news to a store that found the key busy', async () => {
      const { one, other } = stores();
      const key = unique('kept');
      const held = await take(one, key);
      expect((await other.acquire(requestFor(key)).outcome).kind).toBe('busy');
      const heard: KeyChange[] = [];
      const listening = other.changes.subscribe((change) => heard.push(change));
      await keep(one, held, '1');
      await until(() => heard.some((change) => concerns(change, key)), { what: 'the change was heard' });
      listening.unsubscribe();
    });
  });
}
