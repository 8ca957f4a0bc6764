import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { AcquireOutcome, LockStore } from '../../../../lib/store/lock-store.js';
import { systemClock } from '../../../../lib/common/clock.js';
import { until } from '../../../support/eventually.js';
import { startReplication } from '../../../support/replication.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();

afterEach(async () => {
  await stores.closeAll();
});

/** Asks once, without waiting. */
function askOnce(store: LockStore, key = 'k'): Promise<AcquireOutcome> {
  return store.acquire(requestFor(key, { waitUntil: systemClock.monotonic(), replicaTimeout: 500 })).outcome;
}

/** The user of "Redis commands that an ACL user needs" in docs/production.md. */
function documentedUser(): string[] {
  const page = readFileSync('docs/production.md', 'utf8');
  const lines = [...page.matchAll(/^ACL SETUSER locks (.*)$/gm)].map(([, rights = '']) => rights);
  if (lines.length === 0) throw new Error('docs/production.md names no ACL user');
  return ['locks', ...lines.join(' ').split(' ')];
}

describe('A user with the rights that the documentation lists', () => {
  it('can do everything, and no right is reported as missing', async () => {
    await using redis = await startReplication({ replicas: 1 });
    await redis.master.call('ACL', 'SETUSER', ...documentedUser());
    const url = `redis://locks:secret@${redis.master.address}`;
    const [one, other] = [stores.open(url, { replicas: 1 }), stores.open(url, { replicas: 1 })];
    const held = await take(one, 'acl');
    expect(await one.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed', confirmedBy: 1 });
    let isTold = false;
    other.changes.subscribe((change) => (isTold ||= 'key' in change && change.key === 'acl'));
    expect((await askOnce(other, 'acl')).kind).toBe('busy');
    expect((await other.inspect('acl')).kind).toBe('held');
    expect(await other.list({})).toMatchObject({ kind: 'page', locks: [{ key: 'acl' }] });
    expect(await one.release(held, 0)).toEqual({ kind: 'released', ours: true });
    await until(() => isTold, { what: 'the waiter was told' });
    await take(other, 'acl');
    expect(await one.forceRelease('acl')).toEqual({ kind: 'done', wasHeld: true });
    const permits = [await take(one, 'permits', { limit: 2 }), await take(other, 'permits', { limit: 3 })];
    expect((await askOnce(other, 'permits')).kind).toBe('busy');
    expect(await one.inspect('permits')).toMatchObject({ holders: [{ limit: 2 }, { limit: 3 }] });
    expect(await one.list({})).toMatchObject({ locks: [{ holders: [{ limit: 2 }, { limit: 3 }] }] });
    expect(await one.watch(permits[0]!)).toEqual({ kind: 'held' });
    expect(await one.renew(permits[0]!, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    expect(await one.release(permits[0]!, 0)).toEqual({ kind: 'released', ours: true });
    expect(await one.forceRelease('permits', permits[1]!.owner)).toEqual({ kind: 'done', wasHeld: true });
    await other.release(await take(one, 'permits'), 0);
    await take(one, 'permits', { limit: 2 });
    expect(stores.reports).toEqual([]);
    const log = String(await redis.master.call('ACL', 'LOG'));
    expect(log).toBe('');
    await stores.closeAll();
  });

  it.each([
    ['client|tracking', 'waiters are told late'],
    ['subscribe', 'waiters are told late'],
    ['client|unblock', 'WAIT ends by its slices'],
    ['client|list', 'the age of links is counted from the start'],
    ['client|kill', 'a ghost is bounded by its lease'],
    ['mget', 'keys are read one by one'],
    ['pexpire', 'it is needed only when memory is full'],
  ])('works without %s: %s', async (command) => {
    await using redis = await startReplication({ replicas: 1 });
    await redis.master.call('ACL', 'SETUSER', ...documentedUser());
    await redis.master.call('ACL', 'SETUSER', 'locks', `-${command}`);
    const store = stores.open(`redis://locks:secret@${redis.master.address}`, { replicas: 1 });
    const held = await take(store, 'less');
    expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    // Two requests at the same time: the second must end the WAIT of the first.
    await Promise.all([take(store, 'beside-1'), take(store, 'beside-2')]);
    expect((await store.release(held, 0)).kind).toBe('released');
    const isDeaf = ['client|tracking', 'subscribe'].includes(command);
    expect(store.hearsChanges).toBe(!isDeaf);
    expect(stores.reports.map(({ code }) => code)).toEqual(isDeaf ? ['tracking-refused'] : []);
    await stores.closeAll();
  });

  it('counts the quarantine from its own first poll without client|list', async () => {
    await using redis = await startReplication({ replicas: 1 });
    await redis.master.call('ACL', 'SETUSER', ...documentedUser());
    await redis.master.call('ACL', 'SETUSER', 'locks', '-client|list');
    const store = stores.open(`redis://locks:secret@${redis.master.address}`, {
      replicas: 1,
      quarantine: 700,
    });
    await until(() => store.health().masters[0]?.connected, { what: 'the store is connected' });
    const once = { leaseTime: 700, replicaTimeout: 500, waitUntil: systemClock.monotonic() };
    expect((await store.acquire(requestFor('k', once)).outcome).kind).toBe('unavailable');
    granted(await store.acquire(requestFor('k', { leaseTime: 700 })).outcome);
    await stores.closeAll();
  });
});
