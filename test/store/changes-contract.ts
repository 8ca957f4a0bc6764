import { describe, expect, it } from '@jest/globals';
import type { LockStore } from '../../lib/store/lock-store.js';
import { until } from '../support/eventually.js';
import { requestFor, take, unique } from './requests.js';

/** Two stores on the same data. `open` opens a further store for the rest of the test. */
export interface StoresOnSameData {
  readonly one: LockStore;
  readonly other: LockStore;
  open(): LockStore;
}

/** The part of the contract of a lock store that concerns notices of changes. */
export function describeChanges(stores: () => StoresOnSameData): void {
  describe('changes', () => {
    /** The keys whose changes the store reports from now on. */
    const changesOf = (store: LockStore): Set<string> => {
      const seen = new Set<string>();
      store.changes.subscribe((change) => {
        if ('key' in change) seen.add(change.key);
      });
      return seen;
    };

    it('of a busy key reach a waiter at the release', async () => {
      const key = unique('key');
      const held = await take(stores().one, key);
      const waiter = stores().open();
      const seen = changesOf(waiter);
      expect((await waiter.acquire(requestFor(key)).outcome).kind).toBe('busy');
      seen.clear();
      await stores().one.release(held, 0);
      await until(() => seen.has(key), { what: 'the waiter was told' });
    });

    it('of a held key reach the holder if the key is taken by force', async () => {
      const key = unique('key');
      const holder = stores().open();
      expect(await holder.watch(await take(holder, key))).toEqual({ kind: 'held' });
      const seen = changesOf(holder);
      await stores().other.forceRelease(key);
      await until(() => seen.has(key), { what: 'the holder was told' });
    });

    it('of each key of a lock reach its holder', async () => {
      const [a, b] = [unique('a'), unique('b')];
      const holder = stores().open();
      expect(await holder.watch(await take(holder, [a, b]))).toEqual({ kind: 'held' });
      const seen = changesOf(holder);
      for (const key of [b, a]) {
        await stores().other.forceRelease(key);
        await until(() => seen.has(key), { what: `the holder was told of ${key}` });
      }
    });

    it('that came before a lock was watched are found by the watch', async () => {
      const [a, b] = [unique('a'), unique('b')];
      const kept = await take(stores().one, unique('kept'));
      const lost = await take(stores().one, [a, b]);
      const none = await take(stores().one, unique('none'));
      await stores().other.forceRelease(b);
      await stores().other.forceRelease(none.keys[0]!);
      await take(stores().other, none.keys[0]!);
      const answers = await Promise.all([kept, lost, none].map((each) => stores().one.watch(each)));
      expect(answers).toEqual([
        { kind: 'held' },
        { kind: 'gone', key: b },
        { kind: 'gone', key: none.keys[0] },
      ]);
    });

    it('reach a holder that has renewed', async () => {
      const key = unique('key');
      const holder = stores().open();
      await holder.renew(await take(holder, key), 10_000).outcome;
      const seen = changesOf(holder);
      await stores().other.forceRelease(key);
      await until(() => seen.has(key), { what: 'the holder was told' });
    });
  });
}
