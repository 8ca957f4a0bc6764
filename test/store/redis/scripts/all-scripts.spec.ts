import { afterEach, describe, expect, it } from '@jest/globals';
import type { ReleaseOutcome } from '../../../../lib/store/lock-store.js';
import { until } from '../../../support/eventually.js';
import { startReplication } from '../../../support/replication.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const RELEASED: ReleaseOutcome = { kind: 'released', ours: true };
const stores = new RedisStores();

afterEach(() => stores.closeAll());

describe('When the memory of Redis is full', () => {
  it('held locks are renewed, kept busy and released, and no new lock is granted', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url);
    const [plain, renewed, kept, keptLonger, several, forced] = await Promise.all([
      take(store, 'plain'),
      take(store, 'renewed'),
      take(store, 'kept'),
      take(store, 'kept-longer'),
      take(store, ['several-1', 'several-2', 'several-3']),
      take(store, 'forced'),
    ]);
    const permits = await Promise.all(
      ['shared', 'shared', 'shared-kept', 'shared-forced', 'shared-forced'].map((key) =>
        take(store, key, { limit: 2 }),
      ),
    );
    await store.release(await take(store, 'shared-bare'), 0);
    await redis.master.call('CONFIG', 'SET', 'maxmemory', '1mb');
    expect(
      await store.acquire(requestFor('new', { waitUntil: 0, replicaTimeout: 500 })).outcome,
    ).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringMatching(/refused: OOM.*maxmemory/),
    });
    expect(await store.renew(renewed, 10_000).outcome).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    expect(await store.renew(several, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    expect(await store.renew(keptLonger, 30_000, 'cooldown').outcome).toMatchObject({ kind: 'renewed' });
    expect(await Promise.all([plain, several, renewed].map((lock) => store.release(lock, 0)))).toEqual([
      RELEASED,
      RELEASED,
      RELEASED,
    ]);
    expect(await store.release(kept, 5_000)).toEqual(RELEASED);
    expect(await store.inspect('kept')).toMatchObject({ holder: { inCooldown: true } });
    expect(await store.inspect('kept-longer')).toMatchObject({ holder: { inCooldown: true } });
    expect(await store.forceRelease('forced')).toEqual({ kind: 'done', wasHeld: true });
    for (const key of ['plain', 'several-1', 'several-3', 'renewed', 'forced'])
      expect(await store.inspect(key)).toEqual({ kind: 'free' });
    expect(await store.release(forced, 0)).toEqual(RELEASED);
    for (const permit of permits)
      expect(await store.renew(permit, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    const soon = { limit: 2, waitUntil: 0, replicaTimeout: 500 };
    for (const key of ['new', 'shared-bare'])
      expect(await store.acquire(requestFor(key, soon)).outcome).toMatchObject({ kind: 'unavailable' });
    expect(await store.release(permits[0]!, 0)).toEqual(RELEASED);
    expect(await store.release(permits[2]!, 5_000)).toEqual(RELEASED);
    expect(await store.forceRelease('shared-forced', permits[3]!.owner)).toMatchObject({ wasHeld: true });
    expect(await store.forceRelease('shared-forced')).toMatchObject({ wasHeld: true });
    expect(await store.inspect('shared')).toMatchObject({ holders: [{ owner: permits[1]!.owner }] });
    expect(await store.inspect('shared-kept')).toMatchObject({ holder: { inCooldown: true } });
    expect(await store.inspect('shared-forced')).toEqual({ kind: 'free' });
    await redis.master.call('CONFIG', 'SET', 'maxmemory', '0');
    granted(await store.acquire(requestFor('new')).outcome);
    await stores.closeAll();
  });
});

describe('A server that has forgotten its scripts', () => {
  it('gets each script again, whichever is needed next and however often', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const store = stores.open(redis.url);
    const flush = (): Promise<unknown> => redis.master.call('SCRIPT', 'FLUSH');
    for (let round = 0; round < 3; round++) {
      const [a, b] = await Promise.all([take(store, 'a'), take(store, ['b', 'c'])]);
      await flush();
      expect(await store.watch(a)).toEqual({ kind: 'held' });
      await flush();
      expect((await store.renew(b, 10_000).outcome).kind).toBe('renewed');
      await flush();
      expect(await Promise.all([store.release(a, 0), store.release(b, 100)])).toEqual([RELEASED, RELEASED]);
      await flush();
      expect(await store.forceRelease('b')).toMatchObject({ kind: 'done', wasHeld: true });
      await flush();
      expect(await store.forceRelease('c')).toMatchObject({ kind: 'done', wasHeld: true });
      await flush();
      const attempt = store.acquire(requestFor('taken-back'));
      granted(await attempt.outcome);
      await flush();
      attempt.abandon();
      await until(async () => (await store.inspect('taken-back')).kind === 'free', {
        what: 'the attempt was taken back',
      });
    }
    await stores.closeAll();
  });
});
