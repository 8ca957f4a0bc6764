import { expect, it } from '@jest/globals';
import { LockService } from '../../lib/lock/lock-service.js';
import { ManualClock, settled } from '../support/manual-clock.js';
import { FakeStore } from './fake-store.js';
import { lockDefaults } from '../support/lock-defaults.js';

it('A caller for two keys that finds the second busy does not make the waiters for the first contended', async () => {
  const clock = new ManualClock();
  const store = new FakeStore(clock);
  const locks = new LockService(store, lockDefaults(), clock);
  const both = locks.acquire(['a', 'b'], { waitTime: 100 }).catch((error: Error) => error);
  await settled();
  store.busy();
  await settled();
  const first = locks.acquire('a', { waitTime: 110 }).catch((error: Error) => error);
  await settled();
  store.changes.next({ key: 'a' });
  await clock.advance(120);
  const holder = { owner: 'rl:other:1', token: 1, remainingTime: 5_000, inCooldown: false, limit: 1 };
  store.last.answer({ kind: 'busy', key: 'b', holder });
  await clock.advance(3_000);
  expect(await both).toMatchObject({ code: 'LOCK_CONTENDED', owner: 'rl:other:1' });
  const error = (await first) as { keys: readonly string[]; owner?: string };
  expect(error.keys).toEqual(['a']);
  expect(error.owner).not.toBe('rl:other:1');
});
