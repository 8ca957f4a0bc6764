import { beforeEach, describe, expect, it } from '@jest/globals';
import { LockContendedError } from '../../lib/lock/errors.js';
import { settled } from '../support/manual-clock.js';
import { fakeService, type FakeService } from './fake-service.js';

describe('A caller that waits for a lock', () => {
  let clock: FakeService['clock'];
  let store: FakeService['store'];
  let locks: FakeService['locks'];
  let events: FakeService['events'];
  let held: FakeService['held'];

  beforeEach(() => {
    ({ clock, store, locks, events, held } = fakeService());
  });

  describe('waiting in the queue', () => {
    it('lets only the first ask, and the others in their order', async () => {
      const order: number[] = [];
      const waiters = [1, 2, 3].map((n) => locks.acquire('k').then((lock) => (order.push(n), lock)));
      await settled();
      expect(store.asked).toHaveLength(1);
      for (const waiter of waiters) {
        store.grant();
        await waiter;
        await settled();
      }
      expect(order).toEqual([1, 2, 3]);
      expect(store.asked).toHaveLength(3);
    });

    it('sleeps while the key is busy, and asks again after a change, with a new owner each time', async () => {
      void locks.acquire('k').catch(() => {});
      await settled();
      store.busy();
      await clock.advance(1_000);
      expect(store.asked).toHaveLength(1);
      store.changes.next({ key: 'other' });
      await settled();
      expect(store.asked).toHaveLength(1);
      store.changes.next({ key: 'k' });
      await settled();
      expect(store.asked).toHaveLength(2);
      expect(store.asked[1]!.request.owner).not.toBe(store.asked[0]!.request.owner);
    });

    it('asks again once if the notice overtook the busy answer', async () => {
      void locks.acquire('k').catch(() => {});
      await settled();
      store.changes.next({ key: 'k' });
      store.busy();
      await settled();
      expect(store.asked).toHaveLength(2);
      store.busy();
      await settled();
      expect(store.asked).toHaveLength(2);
    });

    it('asks again when the lease of the holder has ended', async () => {
      void locks.acquire('k').catch(() => {});
      await settled();
      store.busy(store.last, 300);
      await clock.advance(290);
      expect(store.asked).toHaveLength(1);
      await clock.advance(20);
      expect(store.asked).toHaveLength(2);
    });

    describe('when the key changes', () => {
      const touch = async (): Promise<void> => {
        store.changes.next({ key: 'k' });
        await settled();
      };

      beforeEach(async () => {
        void locks.acquire('k', { waitTime: '1h' }).catch(() => {});
        await settled();
        store.busy();
        await settled();
        // The holder is the same as before, so the change was a renewal.
        await touch();
        store.busy();
        await settled();
        expect(store.asked).toHaveLength(2);
      });

      it('only verifies the holder if the next renewal is due', async () => {
        for (let renewals = 1; renewals <= 3; renewals++) {
          await clock.advance(3_000);
          await touch();
          expect(store.watched).toHaveLength(renewals);
        }
        expect(store.watched[0]).toEqual({ keys: ['k'], owner: 'rl:other-host:1:2', limit: 1 });
        expect(store.asked).toHaveLength(2);
      });

      it('asks if the verified holder has gone', async () => {
        await clock.advance(3_000);
        store.gone = 'k';
        await touch();
        expect(store.asked).toHaveLength(3);
      });

      it('asks if the verification got no answer', async () => {
        await clock.advance(3_000);
        store.watchOutcome = { kind: 'unknown' };
        await touch();
        expect(store.asked).toHaveLength(3);
      });

      it('asks if the key changed again during the verification', async () => {
        await clock.advance(3_000);
        store.changes.next({ key: 'k' });
        store.changes.next({ key: 'k' });
        await settled();
        expect(store.asked).toHaveLength(3);
      });

      it.each([100, 2_500, 3_500])('asks at once at any other time (%d ms)', async (ms) => {
        await clock.advance(ms);
        await touch();
        expect(store.watched).toHaveLength(0);
        expect(store.asked).toHaveLength(3);
      });

      it('does not take the answer to a question of the timer for another renewal', async () => {
        await clock.advance(3_000);
        await touch();
        await clock.advance(5_100);
        expect(store.asked).toHaveLength(3);
        store.busy();
        await clock.advance(3_000);
        await touch();
        expect(store.watched).toHaveLength(1);
        expect(store.asked).toHaveLength(4);
      });

      it('goes on waiting after the verification, until the lease ends or the waiter would poll', async () => {
        await clock.advance(3_000);
        await touch();
        await clock.advance(4_400);
        expect(store.asked).toHaveLength(2);
        await clock.advance(700);
        expect(store.asked).toHaveLength(3);
      });
    });

    it('polls every 5 to 11 s if the store reports changes, and within 400 ms if not', async () => {
      void locks.acquire('k', { waitTime: '1h' }).catch(() => {});
      await settled();
      store.busy(store.last, 1e9);
      await clock.advance(5_500);
      expect(store.watched).toHaveLength(0);
      await clock.advance(5_000);
      expect(store.watched).toHaveLength(1);
      expect(store.asked).toHaveLength(1);
      store.gone = 'k';
      await clock.advance(11_000);
      expect(store.asked).toHaveLength(2);
      store.hearsChanges = false;
      store.busy(store.last, 1e9);
      await clock.advance(400);
      expect(store.asked).toHaveLength(3);
    });

    it('asks beside the queue if waitTime is 0, and is contended at once', async () => {
      void locks.acquire('k').catch(() => {});
      await settled();
      const impatient = locks.acquire('k', { waitTime: 0 });
      await settled();
      expect(store.asked).toHaveLength(2);
      store.busy();
      await expect(impatient).rejects.toBeInstanceOf(LockContendedError);
      expect(await Promise.all([locks.tryAcquire('k'), settled().then(() => store.busy())])).toEqual([
        null,
        undefined,
      ]);
    });

    it('ends as contended when waitTime is over, and names the holder', async () => {
      const waiting = locks.acquire('k', { waitTime: 500 });
      await settled();
      store.busy(store.last, 4_000);
      await clock.advance(499);
      const rejection = expect(waiting).rejects.toMatchObject({
        code: 'LOCK_CONTENDED',
        keys: ['k'],
        owner: 'rl:other-host:1:2',
        message: expect.stringMatching(/Lock 'k' is held by rl:other-host:1:2.*within 500 ms/),
      });
      await clock.advance(1);
      await rejection;
      expect(events.map(({ type }) => type)).toEqual(['contended']);
      expect(clock.timers).toBe(0);
    });

    it('lets the next waiter ask when the first ends', async () => {
      const first = locks.acquire('k', { waitTime: 100 });
      const second = locks.acquire('k');
      await settled();
      store.busy();
      const rejection = expect(first).rejects.toBeInstanceOf(LockContendedError);
      await clock.advance(100);
      await rejection;
      expect(store.asked).toHaveLength(2);
      store.grant();
      expect((await second).held).toBe(true);
    });

    it('waits for several keys in the queue of the busy key only', async () => {
      void locks.acquire(['a', 'b']).catch(() => {});
      await settled();
      store.busy();
      await settled();
      const free = locks.acquire('b');
      await settled();
      expect(store.last.request.keys).toEqual(['b']);
      store.grant();
      await free;
      store.changes.next({ key: 'a' });
      await settled();
      expect(store.last.request.keys).toEqual(['a', 'b']);
    });

    it('asks for keys in sorted order, whatever order the caller names', async () => {
      const promise = locks.acquire(['z', 'a', 'z']);
      await settled();
      expect(store.last.request.keys).toEqual(['a', 'z']);
      store.grant();
      expect((await promise).keys).toEqual(['z', 'a']);
    });

    it('leaves no timer when all callers have gone', async () => {
      const lock = await held();
      await lock.release();
      await clock.advance(20_000);
      expect(clock.timers).toBe(0);
    });

    it('ends for 500 waiters in one instant without another question', async () => {
      const waiters = Array.from({ length: 500 }, () => locks.acquire('k', { waitTime: 1_000 }));
      const refusals = Promise.allSettled(waiters);
      await settled();
      store.busy(store.last, 1e9);
      await clock.advance(1_000);
      expect((await refusals).every(({ status }) => status === 'rejected')).toBe(true);
      expect(store.asked).toHaveLength(1);
    });

    it('keeps the order of the others if a waiter leaves from the middle of the queue', async () => {
      const lock = await held();
      const order: string[] = [];
      const abort = new AbortController();
      const waitAs = (name: string, signal?: AbortSignal): Promise<void> =>
        locks.acquire('k', { signal }).then(
          () => void order.push(name),
          () => {},
        );
      void waitAs('first');
      const second = waitAs('second', abort.signal);
      void waitAs('third');
      await settled();
      store.busy();
      await settled();
      abort.abort();
      await second;
      void lock.release();
      store.changes.next({ key: 'k' });
      await settled();
      store.grant();
      await settled();
      store.grant();
      await settled();
      expect(order).toEqual(['first', 'third']);
    });

    it('has one question and one timer for thousands of waiters', async () => {
      const waiters = Array.from({ length: 2_000 }, () =>
        locks.acquire('k', { waitTime: Infinity }).catch(() => {}),
      );
      await settled();
      store.busy(store.last, 1e9);
      await clock.advance(4_000);
      expect(store.asked).toHaveLength(1);
      expect(clock.timers).toBe(1);
      await locks.close();
      await Promise.all(waiters);
    });
  });

  describe('an AbortSignal', () => {
    it('ends the waiting with its reason, and takes the request back', async () => {
      const abort = new AbortController();
      const waiting = locks.acquire('k', { signal: abort.signal });
      await settled();
      abort.abort(new Error('enough'));
      await expect(waiting).rejects.toThrow('enough');
      expect(store.last.isAbandoned).toBe(true);
      expect(clock.timers).toBe(0);
    });

    it('that has aborted sends no request', async () => {
      await expect(locks.acquire('k', { signal: AbortSignal.abort('no') })).rejects.toBe('no');
      expect(store.asked).toHaveLength(0);
    });

    it('does not end a lock that was granted', async () => {
      const abort = new AbortController();
      const lock = await held('k', { signal: abort.signal });
      abort.abort();
      expect(lock.held).toBe(true);
    });
  });
});
