import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../../lib/common/clock.js';
import type { AcquireOutcome, LockStore } from '../../../../lib/store/lock-store.js';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const RIGHTS = ['~lock:shop:*', '&*', '+@all'];

const stores = new RedisStores();
let server: RedisProcess;
let store: LockStore;

beforeAll(async () => {
  server = await startRedis();
});
beforeEach(async () => {
  await server.call('ACL', 'SETUSER', 'shop', 'reset', 'on', '>pw', ...RIGHTS);
  store = stores.open(`redis://shop:pw@${server.address}`, { allowNoReplicas: true });
  await server.call('FLUSHALL');
  await take(store, 'shop:warm');
});
afterEach(async () => {
  await stores.closeAll();
});
afterAll(async () => {
  await server.dispose();
});

/** Asks in one turn of the event loop, so that all requests travel in one group. */
function askTogether(keys: readonly (string | string[])[]): Promise<AcquireOutcome[]> {
  const patience = { waitUntil: systemClock.monotonic() + 2_000 };
  return Promise.all(keys.map((key) => store.acquire(requestFor(key, patience)).outcome));
}

function kindsOf(outcomes: readonly { readonly kind: string }[]): string[] {
  return outcomes.map(({ kind }) => kind);
}

async function callsOf(command: string): Promise<number> {
  const line = (await server.info('commandstats'))[`cmdstat_${command}`] ?? '';
  const counts = [/(?:^|,)calls=(\d+)/, /rejected_calls=(\d+)/].map((count) =>
    Number(count.exec(line)?.[1] ?? 0),
  );
  return counts[0]! + counts[1]!;
}

describe('A request that Redis refuses', () => {
  it('does not fail the other requests of its group', async () => {
    const outcomes = await askTogether(['shop:a', 'shop:b', 'bank:a', 'shop:c']);
    expect(kindsOf(outcomes)).toEqual(['granted', 'granted', 'unavailable', 'granted']);
    expect(outcomes[2]).toMatchObject({ permanent: true, reason: expect.stringMatching(/refused: NOPERM/) });
  });

  it('is told apart from other refused requests and from a busy one', async () => {
    await take(store, 'shop:taken');
    const keys = Array.from({ length: 200 }, (_, i) => `${i % 7 === 0 ? 'bank' : 'shop'}:many-${i}`);
    const outcomes = await askTogether([...keys, 'shop:taken', ['bank:pair', 'shop:pair']]);
    const expected = keys.map((key) => (key.startsWith('bank') ? 'unavailable' : 'granted'));
    expect(kindsOf(outcomes)).toEqual([...expected, 'busy', 'unavailable']);
  });

  it('does not fail renewals, and a refused renewal succeeds if it is permitted in time', async () => {
    const held = await Promise.all(['shop:r1', 'shop:r2', 'shop:r3'].map((key) => take(store, key)));
    const [narrowed, ...others] = held as [(typeof held)[0], ...typeof held];
    // The user loses the right to a key while the lock is held.
    await server.call(
      'ACL',
      'SETUSER',
      'shop',
      'resetkeys',
      '~lock:shop:r2',
      '~lock:shop:r3',
      '~lock:shop:new',
    );
    let isSettled = false;
    const renewal = store.renew(narrowed, 10_000).outcome.finally(() => (isSettled = true));
    const renewals = others.map((lock) => store.renew(lock, 10_000).outcome);
    expect(kindsOf(await Promise.all(renewals))).toEqual(['renewed', 'renewed']);
    expect(kindsOf(await askTogether(['shop:new']))).toEqual(['granted']);
    expect(isSettled).toBe(false);
    await server.call('ACL', 'SETUSER', 'shop', ...RIGHTS);
    expect(await renewal).toMatchObject({ kind: 'renewed' });
  });

  it('says why a held lock is lost if its renewals are refused until the lease ends', async () => {
    const [narrowed, other] = await Promise.all([
      take(store, 'shop:lost', { leaseTime: 400 }),
      take(store, 'shop:kept'),
    ]);
    await server.call('ACL', 'SETUSER', 'shop', 'resetkeys', '~lock:shop:kept');
    const [lost, kept] = await Promise.all([
      store.renew(narrowed, 400).outcome,
      store.renew(other, 10_000).outcome,
    ]);
    expect(kept).toMatchObject({ kind: 'renewed' });
    expect(lost).toMatchObject({
      kind: 'expired',
      why: { kind: 'unavailable', reason: expect.stringMatching(/refused: NOPERM/) },
    });
  });

  it('does not keep the owners of other keys from being checked', async () => {
    const held = await Promise.all(['shop:w1', 'shop:w2', 'shop:w3'].map((key) => take(store, key)));
    await server.call('ACL', 'SETUSER', 'shop', 'resetkeys', '~lock:shop:w2', '~lock:shop:w3');
    expect(kindsOf(await Promise.all(held.map((lock) => store.watch(lock))))).toEqual([
      'unknown',
      'held',
      'held',
    ]);
  });
});

describe('A server that refuses every request', () => {
  it.each([
    ['EVAL and EVALSHA', ['-eval', '-evalsha']],
    ['a command of the script', ['-set']],
  ])('for %s is asked once per group, not once per request', async (_what, rights) => {
    await server.call('ACL', 'SETUSER', 'shop', ...rights);
    const before = (await callsOf('eval')) + (await callsOf('evalsha'));
    const outcomes = await askTogether(Array.from({ length: 64 }, (_, i) => `shop:refused-${i}`));
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({
        kind: 'unavailable',
        permanent: true,
        reason: expect.stringMatching(/refused/),
      });
    expect((await callsOf('eval')) + (await callsOf('evalsha')) - before).toBeLessThan(10);
  });

  it('for lack of memory still says which locks are busy', async () => {
    await take(store, 'shop:held-in-full-memory');
    await server.call('CONFIG', 'SET', 'maxmemory', 1);
    try {
      const outcomes = await askTogether([
        'shop:free-1',
        ['shop:free-2', 'shop:held-in-full-memory'],
        'shop:free-3',
      ]);
      expect(kindsOf(outcomes)).toEqual(['unavailable', 'busy', 'unavailable']);
      expect(outcomes[0]).toMatchObject({ reason: expect.stringMatching(/refused: OOM/) });
    } finally {
      await server.call('CONFIG', 'SET', 'maxmemory', 0);
    }
    granted((await askTogether(['shop:free-1']))[0]!);
  });
});
