import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { LockContendedError, LockLostError } from '../../lib/lock/errors.js';
import { LockService } from '../../lib/lock/lock-service.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { until } from '../support/eventually.js';
import { settled } from '../support/manual-clock.js';
import { fakeService, serviceDefaults, type FakeService } from './fake-service.js';

describe('Work under a lock', () => {
  let clock: FakeService['clock'];
  let store: FakeService['store'];
  let locks: FakeService['locks'];

  beforeEach(() => {
    ({ clock, store, locks } = fakeService());
  });

  describe('withLock', () => {
    const entered = async <T>(promise: Promise<T>): Promise<{ promise: Promise<T> }> => {
      promise.catch(() => {});
      await settled();
      store.grant();
      await settled();
      return { promise };
    };

    it('rejects with the loss if the lock was lost before the work ended, whatever the work returned', async () => {
      let end!: (value: string) => void;
      const { promise } = await entered(
        locks.withLock('k', () => new Promise<string>((resolve) => (end = resolve))),
      );
      store.changes.next({ key: 'k' });
      store.renewals[0]!.answer({ kind: 'gone', key: 'k' });
      await settled();
      end('done');
      await expect(promise).rejects.toBeInstanceOf(LockLostError);
    });

    it('has the error of the work as the cause of a loss', async () => {
      let fail!: (reason: Error) => void;
      const { promise } = await entered(
        locks.withLock('k', () => new Promise((_, reject) => (fail = reject))),
      );
      clock.freeze(20_000);
      const own = new Error('own');
      fail(own);
      await expect(promise).rejects.toMatchObject({ code: 'LOCK_LOST', cause: own });
    });

    it('rejects with the loss if only the release finds the key gone', async () => {
      store.releaseOutcome = { kind: 'released', ours: false };
      const { promise } = await entered(locks.withLock('k', () => 1));
      await expect(promise).rejects.toBeInstanceOf(LockLostError);
    });

    it('rejects with the work’s error, and releases', async () => {
      const { promise } = await entered(
        locks.withLock('k', () => {
          throw new Error('own');
        }),
      );
      await expect(promise).rejects.toThrow('own');
      expect(store.releases).toHaveLength(1);
    });

    it('resolves with the result of the work if Redis does not answer the release', async () => {
      store.releaseOutcome = { kind: 'unavailable', reason: 'no answer' };
      const { promise } = await entered(locks.withLock('k', { leaseTime: '5s' }, () => 42));
      expect(await promise).toBe(42);
    });
  });
});

describe('Work in memory', () => {
  let locks: LockService;
  beforeEach(() => {
    locks = new LockService(new MemoryStore(), serviceDefaults);
  });
  afterEach(async () => {
    await locks.close();
  });

  describe('re-entrancy', () => {
    it('says so if acquire waited for a lock of its own context', async () => {
      await locks.withLock('k', async () => {
        await expect(locks.acquire('k', { waitTime: 0 })).rejects.toThrow(
          /^Lock 'k' is held by rl:\S+ \(by this very context: acquire never joins, use withLock\)\./,
        );
        const other = await locks.acquire('other');
        await expect(locks.acquire('other', { waitTime: 0 })).rejects.toThrow(
          /^Lock 'other' is held by rl:\S+\. /,
        );
        await other.release();
      });
    });

    it('joins the lock that the context holds, and releases that lock once, at the outermost call', async () => {
      await locks.withLock('k', async (outer) => {
        await locks.withLock('k', async (inner) => {
          expect(inner).toMatchObject({
            owner: outer.owner,
            fencingToken: outer.fencingToken,
            confirmedBy: 0,
            leaseTime: 9_000,
            keys: ['k'],
            held: true,
          });
          expect(inner.acquiredAt).toEqual(outer.acquiredAt);
          expect(inner.signal).toBe(outer.signal);
          inner.assertHeld();
          await inner.extend();
          expect(await inner.release()).toBe(false);
        });
        expect(outer.held).toBe(true);
        expect(locks.current('k')).toBe(outer);
        expect(locks.current()).toBe(outer);
        expect(locks.assertHeld('k')).toBe(outer);
      });
      expect(locks.current()).toBeUndefined();
      expect(() => locks.assertHeld('k')).toThrow(LockLostError);
      expect(() => locks.assertHeld('k')).toThrow(/^Lock 'k' is not held by this context/);
      expect(await locks.isLocked('k')).toBe(false);
    });

    it('joins a lock by some of its keys, and refuses to take further keys beside a held key', async () => {
      await locks.withLock(['a', 'b'], async () => {
        await locks.withLock('b', () => {});
        await locks.withLock(['b', 'a'], () => {});
        await expect(locks.withLock(['b', 'c'], () => {})).rejects.toMatchObject({
          code: 'LOCK_KEY',
          message: expect.stringContaining('outermost'),
        });
      });
    });

    it('keeps the lock until the last joined work has ended, even if the outermost call did not wait', async () => {
      let inside = 0;
      let most = 0;
      const alone = async (): Promise<void> => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setTimeout(resolve, 20));
        inside--;
      };
      let joined: Promise<void> | undefined;
      await locks.withLock('k', () => {
        joined = locks.withLock('k', alone);
      });
      await locks.withLock('k', alone);
      await joined;
      expect(most).toBe(1);
      expect(await locks.isLocked('k')).toBe(false);
    });

    it('is not for work that outlives its lock, nor for other contexts, nor for acquire', async () => {
      let late: Promise<unknown> | undefined;
      await locks.withLock('k', () => {
        late = new Promise((resolve) => setTimeout(resolve, 20)).then(() =>
          locks.withLock('k', (lock) => lock.owner),
        );
        return locks.current()?.owner;
      });
      const other = await locks.acquire('k');
      await other.release();
      expect(await late).not.toBe(other.owner);
      await locks.withLock('k', async () => {
        expect(await locks.tryAcquire('k')).toBeNull();
        await expect(locks.withLock('k', { reentrant: false, waitTime: 0 }, () => {})).rejects.toBeInstanceOf(
          LockContendedError,
        );
      });
    });

    it('aborts the signal of joined work after a loss', async () => {
      await expect(
        locks.withLock('k', () =>
          locks.withLock('k', async (lock) => {
            await locks.forceRelease('k');
            await until(() => !lock.held, { what: 'the loss is known' });
          }),
        ),
      ).rejects.toBeInstanceOf(LockLostError);
    });
  });
});
