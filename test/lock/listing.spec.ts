import { describe, expect, it } from '@jest/globals';
import { LockOptionsError, LockUnavailableError } from '../../lib/lock/errors.js';
import type { LockInfo } from '../../lib/lock/lock-info.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { ListedKey } from '../../lib/store/lock-store.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { fakeService, serviceDefaults } from './fake-service.js';

function heldKey(key: string, owners = ['rl:a:1:1']): ListedKey {
  const holders = owners.map((owner) => ({
    owner,
    token: 7,
    remainingTime: 1_000,
    inCooldown: false,
    limit: owners.length,
  }));
  return { kind: 'held', key, holder: holders[0]!, holders };
}

async function all(list: AsyncIterable<LockInfo>): Promise<LockInfo[]> {
  const found: LockInfo[] = [];
  for await (const info of list) found.push(info);
  return found;
}

describe('LockService.list', () => {
  it('walks over all pages with the same glob, also over empty pages', async () => {
    const { locks, store } = fakeService();
    const kept: ListedKey = {
      kind: 'kept',
      key: 'c',
      result: '{"a":1}',
      holder: heldKey('c').holder,
    };
    store.pages = [
      { kind: 'page', locks: [heldKey('a')], cursor: '1' },
      { kind: 'page', locks: [], cursor: '2' },
      { kind: 'page', locks: [heldKey('b', ['rl:a:1:1', 'rl:b:2:2']), kept] },
    ];
    expect(await all(locks.list({ match: 'x*' }))).toMatchObject([
      { key: 'a', owner: 'rl:a:1:1', fencingToken: 7, limit: 1, holders: 1 },
      { key: 'b', owner: 'rl:a:1:1', holders: 2 },
      { key: 'b', owner: 'rl:b:2:2', holders: 2 },
      { key: 'c', holders: 0, kept: { result: { a: 1 } } },
    ]);
    expect(store.listed).toEqual([
      { match: 'x*', cursor: undefined },
      { match: 'x*', cursor: '1' },
      { match: 'x*', cursor: '2' },
    ]);
  });

  it('asks for no page before the loop needs it, and for none after the loop was left', async () => {
    const { locks, store } = fakeService();
    store.pages = [
      { kind: 'page', locks: [heldKey('a'), heldKey('b')], cursor: '1' },
      { kind: 'page', locks: [heldKey('c')], cursor: '2' },
    ];
    const list = locks.list();
    expect(store.listed).toHaveLength(0);
    for await (const { key } of list) {
      if (key === 'b') expect(store.listed).toHaveLength(1);
      if (key === 'c') break;
    }
    expect(store.listed).toHaveLength(2);
    // A loop that was left is over.
    expect(await all(list)).toEqual([]);
  });

  it('fails in the middle with the reason, and after that is over', async () => {
    const { locks, store } = fakeService();
    store.pages = [
      { kind: 'page', locks: [heldKey('a')], cursor: '1' },
      { kind: 'unavailable', reason: 'Redis is away.', retryAfter: 5 },
    ];
    const seen: string[] = [];
    const walk = async (): Promise<void> => {
      for await (const { key } of locks.list()) seen.push(key);
    };
    const error = await walk().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(LockUnavailableError);
    expect(error).toMatchObject({ message: 'The locks could not be listed: Redis is away.', retryAfter: 5 });
    expect(seen).toEqual(['a']);
  });

  it('ends with an error if the service is closed in the middle', async () => {
    const locks = new LockService(new MemoryStore(), serviceDefaults);
    for (let i = 0; i < 300; i++) await locks.acquire(`k${i}`);
    const walk = async (): Promise<void> => {
      for await (const { key } of locks.list()) if (key === 'k0') await locks.close();
    };
    await expect(walk()).rejects.toMatchObject({
      code: 'LOCK_UNAVAILABLE',
      message: expect.stringContaining('closed'),
    });
  });

  it.each([
    [{ match: '' }, 'match'],
    [{ match: 5 }, 'match'],
    [{ match: 'x'.repeat(1_025) }, 'match'],
    [{ match: '\ud800' }, 'match'],
    [{ mach: '*' }, 'mach'],
    [{ cursor: '1' }, 'cursor'],
  ])('refuses %j at once', (options, option) => {
    const { locks, store } = fakeService();
    const list = (): unknown => locks.list(options as { match: string });
    expect(list).toThrow(LockOptionsError);
    expect(list).toThrow(`'${option}'`);
    expect(store.listed).toEqual([]);
  });

  it('has pages for a board: each with the cursor of the next', async () => {
    const { locks, store } = fakeService();
    store.pages = [
      { kind: 'page', locks: [heldKey('a')], cursor: '1' },
      { kind: 'page', locks: [] },
    ];
    expect(await locks.listPage()).toMatchObject({ locks: [{ key: 'a' }], cursor: '1' });
    expect(await locks.listPage({ cursor: '1', match: 'a*' })).toEqual({ locks: [] });
    expect(store.listed[1]).toEqual({ match: 'a*', cursor: '1' });
    await expect(locks.listPage({ cursor: '' })).rejects.toBeInstanceOf(LockOptionsError);
    await expect(locks.listPage({ match: '' })).rejects.toBeInstanceOf(LockOptionsError);
  });
});
