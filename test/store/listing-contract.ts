import { describe, expect, it } from '@jest/globals';
import type { ListedKey, ListOutcome, ListRequest, LockStore } from '../../lib/store/lock-store.js';
import type { SharedData } from './contract.js';
import { take, unique } from './requests.js';

/** Every page of a walk. Fails if a page is no page. */
export async function pagesOf(store: LockStore, match?: string): Promise<ListedKey[][]> {
  const pages: ListedKey[][] = [];
  let request: ListRequest = { match };
  for (;;) {
    const outcome = await store.list(request);
    if (outcome.kind !== 'page') throw new Error(`No page but ${JSON.stringify(outcome)}`);
    pages.push([...outcome.locks]);
    if (outcome.cursor === undefined) return pages;
    request = { match, cursor: outcome.cursor };
  }
}

/** The keys of a walk, in alphabetical order. */
export async function keysOf(store: LockStore, match?: string): Promise<string[]> {
  return (await pagesOf(store, match))
    .flat()
    .map(({ key }) => key)
    .toSorted();
}

/** The part of the contract of a lock store that concerns `list`. */
export function describeListing(
  stores: () => { one: LockStore; other: LockStore; open: () => LockStore; raw: SharedData['raw'] },
): void {
  describe('listing', () => {
    it('shows every holder, each with its limit, and the result that a key keeps', async () => {
      const { one, other } = stores();
      const name = unique('listed');
      const held = await take(one, `${name}:held`);
      const [first, second] = [
        await take(one, `${name}:shared`, { limit: 2, leaseTime: 8_000 }),
        await take(other, `${name}:shared`, { limit: 3 }),
      ];
      const work = await take(one, `${name}:kept`);
      await one.renew(work, 20_000, { result: '{"a":1}', replicas: 'all' }).outcome;
      const found = (await pagesOf(other, `${name}:*`)).flat().toSorted((a, b) => (a.key < b.key ? -1 : 1));
      expect(found).toMatchObject([
        { key: `${name}:held`, kind: 'held', holders: [{ owner: held.owner, token: held.token, limit: 1 }] },
        { key: `${name}:kept`, kind: 'kept', result: '{"a":1}', holder: { owner: work.owner } },
        {
          key: `${name}:shared`,
          kind: 'held',
          holder: { owner: first.owner },
          holders: [
            { owner: first.owner, limit: 2 },
            { owner: second.owner, limit: 3 },
          ],
        },
      ]);
      for (const { holder } of found) expect(holder.remainingTime).toBeGreaterThan(1_000);
    });

    it('answers for a key as inspect does', async () => {
      const { one, other } = stores();
      const name = unique('same');
      await take(one, `${name}:1`);
      await one.release(await take(one, `${name}:2`), 9_000);
      await take(other, `${name}:3`, { limit: 2 });
      for (const { key, ...listed } of (await pagesOf(one, `${name}:*`)).flat()) {
        const inspected = await other.inspect(key);
        const withoutTimes = (value: unknown): unknown =>
          JSON.parse(JSON.stringify(value, (field, part: unknown) => (field === 'remainingTime' ? 0 : part)));
        expect(withoutTimes(listed)).toEqual(withoutTimes(inspected));
      }
      expect(await keysOf(one, `${name}:*`)).toEqual([`${name}:1`, `${name}:2`, `${name}:3`]);
    });

    it('skips keys that were given back, also keys with several holders', async () => {
      const { one, other } = stores();
      const name = unique('free');
      await one.release(await take(one, `${name}:1`), 0);
      await one.release(await take(one, `${name}:2`, { limit: 2 }), 0);
      await take(one, `${name}:3`);
      await other.forceRelease(`${name}:3`);
      expect(await keysOf(other, `${name}:*`)).toEqual([]);
    });

    it('walks over hundreds of keys in several pages, and sees each key once', async () => {
      const { one, other } = stores();
      const name = unique('many');
      const expected = Array.from({ length: 700 }, (_, i) => `${name}:${i}`).toSorted();
      await Promise.all(expected.map((key) => take(one, key, { leaseTime: 60_000 })));
      const pages = await pagesOf(other);
      expect(pages.length).toBeGreaterThan(1);
      const keys = pages.flat().map(({ key }) => key);
      expect(keys.filter((key) => key.startsWith(`${name}:`)).toSorted()).toEqual(expected);
    });

    it.each([
      ['*', true],
      ['a*b', true],
      [String.raw`a\*b`, false],
      ['[a]?\\?[?]b', false],
      ['a[*+]b', false],
    ])('matches %s with the glob rules of Redis', async (glob, matchesBoth) => {
      const { one, other } = stores();
      const name = unique('glob');
      await take(one, `${name}:a*b`);
      await take(one, `${name}:axxb`);
      const keys = await keysOf(other, `${name}:${glob}`);
      expect(keys.includes(`${name}:axxb`)).toBe(matchesBoth);
      expect(keys.includes(`${name}:a*b`)).toBe(glob !== '[a]?\\?[?]b');
    });

    it('finds keys of any text, whole', async () => {
      const { one, other } = stores();
      const name = unique('text');
      const keys = [' ', '\r\n', 'ü€😀', '\u0000', '"\\', '*?[^a]', `${'x'.repeat(900)}`].map(
        (text) => `${name}:${text}`,
      );
      await Promise.all(keys.map((key) => take(one, key)));
      expect(await keysOf(other, `${name}:*`)).toEqual(keys.toSorted());
    });

    it('answers a cursor that no page had with a page, and the walk ends', async () => {
      const { one, other } = stores();
      const name = unique('begin');
      await take(one, `${name}:a`);
      for (const cursor of ['!', '-1', '99999/abc:1', 'x:y:z', '0'.repeat(40)]) {
        let found = await other.list({ match: `${name}:*`, cursor });
        const keys: string[] = [];
        for (;;) {
          const page = found as Extract<ListOutcome, { kind: 'page' }>;
          expect(page.kind).toBe('page');
          keys.push(...page.locks.map(({ key }) => key));
          if (page.cursor === undefined) break;
          found = await other.list({ match: `${name}:*`, cursor: page.cursor });
        }
        expect(keys.length).toBeLessThanOrEqual(1);
      }
    });

    it("skips another program's values, of whatever type", async () => {
      const { one, raw } = stores();
      if (raw === undefined) return expect(raw).toBeUndefined();
      const name = unique('foreign');
      await raw.set(`${name}:basket`, 'a shopping basket');
      await raw.set(`${name}:large`, 'x'.repeat(300_000));
      await raw.set(`${name}:nearly`, 'rl:a:1 17955317565662');
      await raw.set(`${name}:empty`, '');
      await take(one, `${name}:lock`);
      expect(await keysOf(one, `${name}:*`)).toEqual([`${name}:lock`]);
      return undefined;
    });

    it('answers as unavailable once the store is closed', async () => {
      const store = stores().open();
      await store.list({});
      await store.close();
      expect(await store.list({})).toMatchObject({ kind: 'unavailable' });
    });
  });
}
