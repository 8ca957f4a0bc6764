import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  LockContendedError,
  LockKeyError,
  LockLostError,
  LockNotReplicatedError,
  LockOptionsError,
  LockServiceClosedError,
  LockUnavailableError,
} from '../../lib/lock/errors.js';
import type { LockEvent } from '../../lib/lock/events.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { WithLockOptions } from '../../lib/lock/options.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { until } from '../support/eventually.js';
import { ManualClock, settled } from '../support/manual-clock.js';
import type { MasterHealth } from '../../lib/store/lock-store.js';
import { FakeStore } from './fake-store.js';
import { lockDefaults } from '../support/lock-defaults.js';

const defaults = lockDefaults({ leaseTime: 9_000, shutdownTimeout: 3_000, quarantine: 0 });

describe('LockService on a store that answers when it is told to', () => {
  let clock: ManualClock;
  let store: FakeStore;
  let locks: LockService;
  let events: LockEvent[];

  beforeEach(() => {
    clock = new ManualClock();
    store = new FakeStore(clock);
    locks = new LockService(store, defaults, clock);
    events = [];
    locks.events.subscribe((event) => events.push(event));
  });

  async function held(key = 'k', options: WithLockOptions = {}): ReturnType<LockService['acquire']> {
    const promise = locks.acquire(key, options);
    await settled();
    store.grant();
    return promise;
  }

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

    it('asks again once when the notice overtook the busy answer', async () => {
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
        // The holder renewed: it is the same as before.
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
        expect(store.watched[0]).toEqual({ keys: ['k'], owner: 'rl:somebody:1:else' });
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

      it('goes on waiting for its lease to end, and for its own patience, after a look', async () => {
        await clock.advance(3_000);
        await touch();
        await clock.advance(4_400);
        expect(store.asked).toHaveLength(2);
        await clock.advance(700);
        expect(store.asked).toHaveLength(3);
      });
    });

    it('polls seldom if the store reports changes, and often if not', async () => {
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

    it('asks beside the line without a wait, and is contended at once', async () => {
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

    it('ends as contended when the wait is over, and says who holds it', async () => {
      const waiting = locks.acquire('k', { waitTime: 500 });
      await settled();
      store.busy(store.last, 4_000);
      await clock.advance(499);
      const rejection = expect(waiting).rejects.toMatchObject({
        code: 'LOCK_CONTENDED',
        keys: ['k'],
        owner: 'rl:somebody:1:else',
        message: expect.stringMatching(/Lock 'k' is held by rl:somebody:1:else.*within 500 ms/),
      });
      await clock.advance(1);
      await rejection;
      expect(events.map(({ type }) => type)).toEqual(['contended']);
      expect(clock.timers).toBe(0);
    });

    it('gives its place to the next when it ends', async () => {
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

    it('asks for keys in one order, whatever order they were named in', async () => {
      const promise = locks.acquire(['z', 'a', 'z']);
      await settled();
      expect(store.last.request.keys).toEqual(['a', 'z']);
      store.grant();
      expect((await promise).keys).toEqual(['z', 'a']);
    });

    it('holds no timer and no line when everybody has gone', async () => {
      const lock = await held();
      await lock.release();
      await clock.advance(20_000);
      expect(clock.timers).toBe(0);
    });

    it('is given up by all whose time is up together, none of whom asks once more', async () => {
      const waiters = Array.from({ length: 500 }, () => locks.acquire('k', { waitTime: 1_000 }));
      const refusals = Promise.allSettled(waiters);
      await settled();
      store.busy(store.last, 1e9);
      await clock.advance(1_000);
      expect((await refusals).every(({ status }) => status === 'rejected')).toBe(true);
      expect(store.asked).toHaveLength(1);
    });

    it('lets one leave from the middle of the line and keeps the order of the others', async () => {
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

    it('does not wake thousands for nothing', async () => {
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
    it('ends the waiting with its reason, and takes back what was asked', async () => {
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

  describe('failures', () => {
    it('asks again under a new name after too few confirmations, and says so at the end', async () => {
      const waiting = locks.acquire('k', { waitTime: 300 });
      await settled();
      const replicas = [
        { address: '10.0.0.7:6379', acknowledged: false, lag: 12 },
        { address: '10.0.0.8:6379', acknowledged: true, lag: 0 },
      ];
      store.last.answer({ kind: 'unconfirmed', confirmed: 1, required: 2, replicas });
      await clock.advance(100);
      expect(store.asked).toHaveLength(2);
      expect(store.asked[1]!.request.owner).not.toBe(store.asked[0]!.request.owner);
      await clock.advance(300);
      const rejection = expect(waiting).rejects.toMatchObject({
        code: 'LOCK_NOT_REPLICATED',
        confirmed: 1,
        required: 2,
        replicas,
        message: expect.stringMatching(
          /Lock 'k' was not confirmed: 1 of the 2.*10\.0\.0\.7:6379 \(12 bytes behind\).*'majority'/,
        ),
      });
      store.last.answer({ kind: 'unconfirmed', confirmed: 1, required: 2, replicas });
      await rejection;
      await expect(rejection).resolves.toBeUndefined();
      const told = events.filter(({ type }) => type === 'unconfirmed');
      expect(told).toHaveLength(2);
      expect(told[0]).toMatchObject({
        error: { replicas, message: expect.stringContaining('10.0.0.7:6379 (12 bytes behind)') },
      });
    });

    it('names the lack of any replica', () => {
      const error = new LockNotReplicatedError(
        ['k'],
        { kind: 'unconfirmed', confirmed: 0, required: 1, replicas: [] },
        1_000,
      );
      expect(error.message).toMatch(/lists no replica.*allowNoReplicas: true/);
    });

    it('names the option that asks for more replicas than there are', () => {
      const replicas = ['a:1', 'b:1'].map((address) => ({ address, acknowledged: true, lag: 0 }));
      const error = new LockNotReplicatedError(
        ['k'],
        { kind: 'unconfirmed', confirmed: 2, required: 3, replicas },
        1_000,
      );
      expect(error.message).toMatch(/has only 2, and replicas .*asks for 3: attach .* set it to 2/);
    });

    it('asks again while Redis is away, with growing pauses, and fails with its reason', async () => {
      const waiting = locks.acquire('k', { waitTime: 2_000 });
      const rejection = expect(waiting).rejects.toMatchObject({
        code: 'LOCK_UNAVAILABLE',
        retryAfter: 700,
        message: "Lock 'k' could not be decided: Redis is away.",
      });
      await settled();
      for (let i = 0; i < 40; i++) {
        store.last.answer({ kind: 'unavailable', reason: 'Redis is away.', retryAfter: 700 });
        await clock.advance(60);
      }
      await rejection;
      expect(store.asked.length).toBeGreaterThan(3);
      expect(store.asked.length).toBeLessThan(15);
    });

    it('does not ask again if that cannot help', async () => {
      const waiting = locks.acquire('k');
      await settled();
      store.last.answer({ kind: 'unavailable', reason: 'NOPERM', permanent: true });
      await expect(waiting).rejects.toBeInstanceOf(LockUnavailableError);
      expect(store.asked).toHaveLength(1);
    });

    it('refuses another program’s key, and a server that may evict', async () => {
      const foreign = locks.acquire('k');
      await settled();
      store.last.answer({ kind: 'foreign', key: 'k', found: "the value 'basket'" });
      await expect(foreign).rejects.toMatchObject({
        code: 'LOCK_KEY',
        message: expect.stringContaining("the value 'basket'"),
      });
      const evicting = locks.acquire('k');
      await settled();
      store.last.answer({
        kind: 'misconfigured',
        option: 'allowEviction',
        value: false,
        reason: 'it evicts',
      });
      await expect(evicting).rejects.toMatchObject({
        code: 'LOCK_OPTIONS',
        option: 'allowEviction',
        keys: ['k'],
      });
    });

    it('waits for the answer of the store when the process was busy past its time, but once', async () => {
      const granted = locks.tryAcquire('k');
      const unanswered = locks.tryAcquire('unanswered').catch((error: unknown) => error);
      await settled();
      const [asked] = store.asked;
      for (let i = 0; i < 2; i++) {
        clock.freeze(30_000);
        await clock.advance(0);
        if (i === 0) store.grant(asked);
        await settled();
      }
      expect(await granted).not.toBeNull();
      expect(await unanswered).toBeInstanceOf(LockUnavailableError);
    });

    it('ends by its own clock when the store never answers', async () => {
      const waiting = locks.acquire('k', { waitTime: 500 });
      const rejection = expect(waiting).rejects.toBeInstanceOf(LockUnavailableError);
      await clock.advance(500 + 1_000 + 999);
      expect(store.last.isAbandoned).toBe(false);
      await clock.advance(1);
      await rejection;
      expect(store.last.isAbandoned).toBe(true);
      expect(clock.timers).toBe(0);
    });
  });

  describe('a held lock', () => {
    it('says what it is', async () => {
      const lock = await held();
      expect(lock).toMatchObject({ key: 'k', keys: ['k'], confirmedBy: 2, leaseTime: 9_000, held: true });
      expect(lock.owner).toMatch(/^rl:[^ ]+:\d+:[\w-]+:\w+$/);
      expect(lock.acquiredAt.getTime()).toBe(clock.wall());
      expect(lock.remainingTime).toBeCloseTo(9_000 - 92);
      expect(locks.held).toEqual([lock]);
    });

    it('is renewed every third of its lease, and lives on', async () => {
      const lock = await held();
      for (let i = 0; i < 5; i++) {
        await clock.advance(3_000);
        expect(store.renewals).toHaveLength(i + 1);
        store.renewed();
        await settled();
      }
      expect(lock.held).toBe(true);
      expect(events.filter(({ type }) => type === 'renewed')).toHaveLength(5);
    });

    it('has one renewal under way at a time', async () => {
      await held();
      await clock.advance(8_000);
      expect(store.renewals).toHaveLength(1);
    });

    it('is renewed at once when its key was touched, and again if that happens meanwhile', async () => {
      await held();
      store.changes.next({ key: 'k' });
      await settled();
      expect(store.renewals).toHaveLength(1);
      store.changes.next({ every: true });
      await settled();
      expect(store.renewals).toHaveLength(1);
      store.renewed();
      await settled();
      expect(store.renewals).toHaveLength(2);
    });

    it('is told that its key changed, although a later lock of the process has that key', async () => {
      const earlier = await held();
      const later = await held();
      store.changes.next({ key: 'k' });
      await settled();
      expect(store.renewals.map(({ lock }) => lock)).toEqual([earlier, later]);
    });

    it('is lost at once when its key is gone', async () => {
      const lock = await held();
      const { signal } = lock;
      store.changes.next({ key: 'k' });
      store.renewals[0]!.answer({ kind: 'gone', key: 'k' });
      await settled();
      expect(signal.aborted).toBe(true);
      expect(signal.reason).toBeInstanceOf(LockLostError);
      expect(lock.held).toBe(false);
      expect(() => lock.assertHeld()).toThrow(
        /Lock 'k' was lost at .*: another client deleted or took its key 'k'/,
      );
      expect(events.at(-1)).toMatchObject({ type: 'lost', keys: ['k'] });
      expect(locks.held).toEqual([]);
      expect(locks.health()).toMatchObject({ held: 0, lost: 1 });
    });

    it('on several keys gives the others back when one of them is gone', async () => {
      const promise = locks.acquire(['a', 'b']);
      await settled();
      store.grant();
      const lock = await promise;
      await clock.advance(3_000);
      store.renewals[0]!.answer({ kind: 'gone', key: 'a' });
      await settled();
      expect(lock.held).toBe(false);
      expect(store.releases).toHaveLength(1);
    });

    it('is lost when its validity ends unconfirmed, and taken back', async () => {
      const lock = await held();
      const { signal } = lock;
      await clock.advance(8_907);
      expect(signal.aborted).toBe(false);
      await clock.advance(2);
      expect(signal.aborted).toBe(true);
      expect(store.releases).toMatchObject([{ cooldown: 0, lock: { owner: lock.owner } }]);
    });

    it.each<[string, WithLockOptions, number, number, RegExp]>([
      ['no renewal', { renew: false }, 9_000, 0, /its lease of 9000 ms ended, and renew is false: lengthen/],
      ['a renewal without answer', {}, 9_000, 0, /its lease of 9000 ms ended before a renewal was confirmed/],
      ['maxHoldTime', { maxHoldTime: 400 }, 9_000, 0, /maxHoldTime \(400 ms\) had ended its renewal/],
      [
        'a process that stood still',
        {},
        1_000,
        11_000,
        /while this process did not run, for 3\.\d s and more/,
      ],
      ['a late timer, a little', {}, 1_000, 8_300, /ended before a renewal was confirmed/],
    ])('says what its end came from: %s', async (_, options, ran, stood, why) => {
      const lock = await held('k', options);
      await clock.advance(ran);
      clock.freeze(stood);
      expect(() => lock.assertHeld()).toThrow(why);
    });

    it('is lost when the store gives its renewal up', async () => {
      const lock = await held();
      await clock.advance(3_000);
      store.renewals[0]!.answer({ kind: 'expired', why: { kind: 'unavailable', reason: 'Redis is away.' } });
      await settled();
      expect(() => lock.assertHeld()).toThrow(/not confirmed in time \(Redis is away\)/);
      expect(store.releases).toHaveLength(1);
    });

    it('is not believed in after the process stood still for longer than the lease', async () => {
      const lock = await held();
      clock.freeze(9_000);
      expect(lock.held).toBe(false);
      expect(lock.remainingTime).toBe(0);
      expect(() => lock.assertHeld()).toThrow(LockLostError);
    });

    it('ends early when the wall clock steps forward, and not later when it steps back', async () => {
      const lock = await held();
      clock.stepWall(-60_000);
      expect(lock.remainingTime).toBeCloseTo(8_908);
      clock.stepWall(120_000);
      expect(lock.held).toBe(false);
    });

    it('is not renewed after maxHoldTime, and its holder is told when the last lease ends', async () => {
      const lock = await held('k', { maxHoldTime: 4_000 });
      const { signal } = lock;
      await clock.advance(3_000);
      store.renewed();
      await clock.advance(8_000);
      expect(store.renewals).toHaveLength(1);
      expect(signal.aborted).toBe(false);
      await clock.advance(1_500);
      expect(signal.aborted).toBe(true);
    });

    it('is watched once it was held for a moment, and then only', async () => {
      const short = await held('short');
      const long = await held('long');
      await short.release();
      await clock.advance(2);
      expect(store.watched).toHaveLength(0);
      await clock.advance(5);
      expect(store.watched).toEqual([long]);
      await clock.advance(100);
      expect(store.watched).toHaveLength(1);
    });

    it('is lost if its key was taken before it was watched', async () => {
      const lock = await held();
      store.gone = 'k';
      await clock.advance(7);
      expect(lock.held).toBe(false);
      expect(() => lock.assertHeld()).toThrow(/another client deleted or took its key 'k'/);
    });

    it('watches its keys again if that failed and no renewal does so', async () => {
      store.watchOutcome = { kind: 'unknown' };
      const renewed = await held('renewed');
      const short = await held('short', { renew: false });
      const long = await held('long', { renew: false });
      await clock.advance(7);
      expect(store.watched).toEqual([renewed, short, long]);
      await short.release();
      store.watchOutcome = { kind: 'held' };
      await clock.advance(1_001);
      expect(store.watched.slice(3)).toEqual([long]);
      await clock.advance(1_500);
      expect(store.watched).toHaveLength(4);
    });

    it('that is not renewed looks whether it is still there when its key was touched', async () => {
      const lock = await held('k', { renew: false });
      store.changes.next({ key: 'k' });
      await settled();
      expect(store.watched).toEqual([lock]);
      expect(lock.held).toBe(true);
      store.gone = 'k';
      store.changes.next({ key: 'k' });
      await settled();
      expect(lock.held).toBe(false);
      expect(store.renewals).toHaveLength(0);
    });

    it('can be extended, confirmed, for another lease', async () => {
      const lock = await held();
      const extended = lock.extend('60s');
      store.renewed();
      await extended;
      expect(store.renewals[0]!.leaseTime).toBe(60_000);
      expect(lock.leaseTime).toBe(60_000);
      expect(lock.remainingTime).toBeGreaterThan(59_000);
      await expect(lock.extend(5)).rejects.toBeInstanceOf(LockOptionsError);
    });

    it('has no lease that is longer than the quarantine', async () => {
      const strict = new LockService(store, { ...defaults, quarantine: 20_000 }, clock);
      const tooLong = /^Option 'leaseTime' is 20001: it must be at most the option quarantine \(20000 ms\)/;
      await expect(strict.acquire('a', { leaseTime: 20_001 })).rejects.toThrow(tooLong);
      await expect(strict.acquire('a', { leaseTime: '1h' })).rejects.toBeInstanceOf(LockOptionsError);
      const asked = store.asked.length;
      const taking = strict.acquire('a', { leaseTime: '20s' });
      store.grant();
      const lock = await taking;
      await expect(lock.extend(20_001)).rejects.toThrow(tooLong);
      expect(lock.held).toBe(true);
      expect(store.asked.length).toBe(asked + 1);
    });

    it('is extended for the lease that was asked for though a renewal is under way', async () => {
      const lock = await held();
      await clock.advance(3_000);
      expect(store.renewals).toHaveLength(1);
      const extended = lock.extend('60s');
      store.renewed();
      await until(() => store.renewals.length === 2, { what: 'it asks once more' });
      expect(store.renewals.map(({ leaseTime }) => leaseTime)).toEqual([9_000, 60_000]);
      store.renewed();
      await extended;
      expect(lock.remainingTime).toBeGreaterThan(59_000);
    });

    it('cannot be extended when it is gone', async () => {
      const lock = await held();
      const extended = lock.extend();
      store.renewals[0]!.answer({ kind: 'gone', key: 'k' });
      await expect(extended).rejects.toBeInstanceOf(LockLostError);
    });
  });

  it('tells an observer of every acquisition, and listeners what it was called', async () => {
    const ends: unknown[] = [];
    locks.observe({
      onAsked: (keys, label) => (end) => void ends.push([keys, label, end.kind]),
    });
    expect(() => locks.observe({ onAsked: () => () => {} })).toThrow(/observed already/);
    const acquired = locks.acquire('k', { label: 'kind' });
    await settled();
    await clock.advance(5);
    store.grant();
    const lock = await acquired;
    const refused = locks.tryAcquire('k', { label: 'kind' });
    await settled();
    store.busy();
    expect(await refused).toBeNull();
    await lock.release();
    expect(ends).toEqual([
      [['k'], 'kind', 'acquired'],
      [['k'], 'kind', 'refused'],
    ]);
    expect(events).toMatchObject([
      { type: 'acquired', label: 'kind', waited: 5, confirmedIn: 0 },
      { type: 'contended', label: 'kind' },
      { type: 'released', label: 'kind', answered: true },
    ]);
    await expect(locks.acquire('k', { label: '' })).rejects.toThrow(/Option 'label' is ''/);
  });

  describe('a release', () => {
    it('happens once', async () => {
      const lock = await held();
      expect(await lock.release()).toBe(true);
      expect(await lock.release()).toBe(false);
      expect(store.releases).toHaveLength(1);
      expect(lock.signal.aborted).toBe(false);
      expect(() => lock.assertHeld()).toThrow(/released/);
      expect(events.at(-1)).toMatchObject({ type: 'released' });
    });

    it('lists the replicas of a master by their old name, too', () => {
      const replicas = [{ address: '10.0.0.2:6379', acknowledged: true, lag: 0 }];
      store.health = () => ({ status: 'up', masters: [{ replicas } as unknown as MasterHealth] });
      expect(locks.health().masters).toEqual([{ replicas, members: replicas }]);
      const error = new LockNotReplicatedError(
        ['k'],
        { kind: 'unconfirmed', confirmed: 1, required: 2, replicas },
        1_000,
      );
      expect(error.members).toBe(replicas);
    });

    it('resolves with false if the key was no longer held by the lock', async () => {
      const lock = await held();
      store.releaseOutcome = { kind: 'released', ours: false };
      expect(await lock.release()).toBe(false);
      expect(locks.health()).toMatchObject({ held: 0, lost: 1 });
    });

    it('is no loss when a renewal finds the key gone behind it', async () => {
      const lock = await held();
      await clock.advance(3_000);
      await lock.release();
      store.renewals[0]!.answer({ kind: 'gone', key: 'k' });
      await settled();
      expect(events.map(({ type }) => type)).toEqual(['acquired', 'released']);
    });

    it('rejects when Redis did not answer', async () => {
      const lock = await held();
      store.releaseOutcome = { kind: 'unavailable', reason: 'no answer' };
      await expect(lock.release()).rejects.toBeInstanceOf(LockUnavailableError);
      expect(lock.held).toBe(false);
      expect(events.at(-1)).toMatchObject({ type: 'released', owner: lock.owner, answered: false });
    });

    it('leaves the key busy for the rest of minHoldTime', async () => {
      const lock = await held('k', { minHoldTime: 5_000 });
      await clock.advance(1_000);
      await lock.release();
      expect(store.releases[0]!.cooldown).toBeCloseTo(4_000);
    });

    it('confirms a minHoldTime that is longer than the lease', async () => {
      const lock = await held('k', { minHoldTime: 60_000 });
      const released = lock.release();
      await settled();
      expect(store.renewals[0]!.leaseTime).toBeCloseTo(60_000);
      store.renewed();
      expect(await released).toBe(true);
      expect(store.releases).toHaveLength(0);
    });

    it('comes by itself at the end of an await using block', async () => {
      {
        await using lock = await held();
        expect(lock.held).toBe(true);
      }
      expect(store.releases).toHaveLength(1);
    });
  });

  describe('withLock', () => {
    const entered = async <T>(promise: Promise<T>): Promise<{ promise: Promise<T> }> => {
      promise.catch(() => {});
      await settled();
      store.grant();
      await settled();
      return { promise };
    };

    it('rejects with the loss when the lock was lost before the work ended, whatever it returned', async () => {
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

    it('names the work’s own error as the cause of a loss', async () => {
      let fail!: (reason: Error) => void;
      const { promise } = await entered(
        locks.withLock('k', () => new Promise((_, reject) => (fail = reject))),
      );
      clock.freeze(20_000);
      const own = new Error('own');
      fail(own);
      await expect(promise).rejects.toMatchObject({ code: 'LOCK_LOST', cause: own });
    });

    it('is lost too when the release finds it so', async () => {
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

    it('keeps the work’s result when Redis does not answer the release', async () => {
      store.releaseOutcome = { kind: 'unavailable', reason: 'no answer' };
      const { promise } = await entered(locks.withLock('k', { leaseTime: '5s' }, () => 42));
      expect(await promise).toBe(42);
    });
  });

  describe('shutdown', () => {
    it('refuses who waits and who comes, and lets the work inside a lock end', async () => {
      let inner: Promise<unknown> | undefined;
      let end!: () => void;
      const outer = locks.withLock('outer', async () => {
        await new Promise<void>((resolve) => (end = resolve));
        inner = locks.withLock('inner', () => 'inside');
        return inner;
      });
      await settled();
      store.grant();
      const waiting = locks.acquire('busy');
      const refused = expect(waiting).rejects.toBeInstanceOf(LockServiceClosedError);
      await settled();
      const drained = locks.drain();
      await refused;
      expect(store.last.isAbandoned).toBe(true);
      await expect(locks.acquire('new')).rejects.toBeInstanceOf(LockServiceClosedError);
      end();
      await settled();
      expect(store.last.request.keys).toEqual(['inner']);
      store.grant();
      expect(await outer).toBe('inside');
      await drained;
      await locks.close();
      expect(store.isClosed).toBe(true);
    });

    it('waits for shutdownTimeout and then tells the holders of what is left', async () => {
      const lock = await held();
      const { signal } = lock;
      const drained = Promise.all([locks.drain(), locks.drain()]);
      await clock.advance(3_000);
      store.renewed();
      await drained;
      expect(signal.aborted).toBe(false);
      await Promise.all([locks.close(), locks.close()]);
      expect(signal.reason).toMatchObject({
        code: 'LOCK_LOST',
        message: expect.stringContaining('shut down'),
      });
      expect(store.releases).toHaveLength(1);
      expect(clock.timers).toBe(0);
      await expect(locks.acquire('k')).rejects.toBeInstanceOf(LockServiceClosedError);
    });
  });

  describe('questions', () => {
    it('pass the store’s failures on', async () => {
      store.inspectOutcome = { kind: 'unavailable', reason: 'away' };
      await expect(locks.isLocked('k')).rejects.toBeInstanceOf(LockUnavailableError);
      store.inspectOutcome = { kind: 'foreign', key: 'k', found: 'x' };
      await expect(locks.inspect('k')).rejects.toBeInstanceOf(LockKeyError);
      store.forceOutcome = { kind: 'foreign', key: 'k', found: 'x' };
      await expect(locks.forceRelease('k')).rejects.toBeInstanceOf(LockKeyError);
      store.forceOutcome = { kind: 'unavailable', reason: 'away' };
      await expect(locks.forceRelease('k')).rejects.toBeInstanceOf(LockUnavailableError);
    });
  });
});

describe('LockService in memory', () => {
  let locks: LockService;
  beforeEach(() => {
    locks = new LockService(new MemoryStore(), defaults);
  });
  afterEach(async () => {
    await locks.close();
  });

  it('tells who holds a key', async () => {
    const lock = await locks.acquire('k');
    expect(await locks.inspect('k')).toMatchObject({
      key: 'k',
      owner: lock.owner,
      fencingToken: lock.fencingToken,
    });
    expect(await locks.isLocked('k')).toBe(true);
    expect(await locks.isLocked('free')).toBe(false);
    expect(await locks.forceRelease('k')).toBe(true);
    await until(() => !lock.held, { what: 'the holder was told' });
  });

  it('hands the key over in order, and never to two', async () => {
    let inside = 0;
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        locks.withLock('k', async () => {
          expect(++inside).toBe(1);
          await new Promise((resolve) => setImmediate(resolve));
          order.push(i);
          inside--;
        }),
      ),
    );
    expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it('takes keys in any order without a deadlock', async () => {
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        locks.withLock(
          i % 2 ? ['a', 'b'] : ['b', 'a'],
          () => new Promise((resolve) => setImmediate(resolve)),
        ),
      ),
    );
  });

  it('does not deadlock with work that holds one key and asks for the other', async () => {
    const nested = locks.withLock('a', async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return locks.withLock('b', () => 'nested');
    });
    const both = locks.withLock(['a', 'b'], () => 'both');
    expect(await Promise.all([nested, both])).toEqual(['nested', 'both']);
  });

  it('notices a loss after the event loop stood still for longer than the lease', async () => {
    const lock = await locks.acquire('k', { leaseTime: 100 });
    const end = performance.now() + 130;
    while (performance.now() < end);
    expect(lock.held).toBe(false);
    expect(lock.signal.aborted).toBe(false);
    await until(() => lock.signal.aborted, { what: 'the signal aborts' });
  });

  describe('re-entrancy', () => {
    it('says so if acquire waited for the very context that asks', async () => {
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

    it('joins the lock that the context holds, and releases it once, at the outermost place', async () => {
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

    it('joins one of several keys, and refuses to ask for more beside one', async () => {
      await locks.withLock(['a', 'b'], async () => {
        await locks.withLock('b', () => {});
        await locks.withLock(['b', 'a'], () => {});
        await expect(locks.withLock(['b', 'c'], () => {})).rejects.toMatchObject({
          code: 'LOCK_KEY',
          message: expect.stringContaining('outermost'),
        });
      });
    });

    it('keeps the lock until the last who joined has left, though the outermost did not wait for it', async () => {
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

    it('tells joined work of a loss', async () => {
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

  describe('refuses before anything is asked', () => {
    it.each([
      [undefined, /must be a string or an array/],
      [null, /must be a string or an array/],
      [{}, /an object/],
      ['', /is empty/],
      [[], /array of keys is empty/],
      [['a', ''], /is empty/],
      [['a', undefined], /must be a string, not undefined/],
      ['x'.repeat(1_025), /1024 are the most/],
      ['half \ud83d', /is no well-formed Unicode/],
      [['whole', '\udd12 half'], /is no well-formed Unicode/],
    ])('the key %p', async (key, message) => {
      const call = locks.acquire(key as string);
      await expect(call).rejects.toBeInstanceOf(LockKeyError);
      await expect(call).rejects.toThrow(message);
      await expect(locks.tryAcquire(key as string)).rejects.toThrow(message);
      await expect(locks.withLock(key as string, () => {})).rejects.toThrow(message);
    });

    it.each([
      ['', /is empty/],
      [['a'], /must be a string, not an array/],
      ['half \ud83d', /is no well-formed Unicode/],
    ])('the key %p of a question', async (key, message) => {
      await expect(locks.inspect(key as string)).rejects.toThrow(message);
      await expect(locks.isLocked(key as string)).rejects.toThrow(message);
      await expect(locks.forceRelease(key as string)).rejects.toThrow(message);
      expect(() => locks.current(key as string)).toThrow(message);
      expect(() => locks.assertHeld(key as string)).toThrow(message);
    });

    it('more than 256 keys of one lock, however many more, and before anything is written', async () => {
      const many = Array.from({ length: 200_000 }, (_, i) => `many-${i}`);
      for (const count of [257, 5_000, 200_000]) {
        const call = locks.acquire(many.slice(0, count));
        await expect(call).rejects.toBeInstanceOf(LockKeyError);
        await expect(call).rejects.toThrow(/more than 256 keys, from 'many-0' on/);
      }
      expect(await locks.inspect('many-0')).toBeNull();
      const lock = await locks.acquire([...many.slice(0, 256), 'many-0']);
      expect(lock.keys).toHaveLength(256);
      await lock.release();
    });

    it.each(['\0', 'a b', ' ', '🔒', 'ключ', '{tag}', 'x'.repeat(1_024)])(
      'no key such as %p',
      async (key) => {
        const lock = await locks.acquire(key);
        expect(await locks.inspect(key)).toMatchObject({ key, owner: lock.owner });
        await lock.release();
      },
    );

    it.each([
      ['leaseTime', 99],
      ['leaseTime', Number.NaN],
      ['leaseTime', Infinity],
      ['leaseTime', '5 bananas'],
      ['leaseTime', ''],
      ['leaseTime', -1],
      ['leaseTime', {}],
      ['waitTime', -1],
      ['waitTime', 'soon'],
      ['maxHoldTime', 0],
      ['minHoldTime', -5],
      ['minHoldTime', Infinity],
      ['replicaTimeout', 0],
      ['replicas', 'most'],
      ['replicas', 1.5],
      ['replicas', -1],
      ['renew', 'yes'],
      ['reentrant', 1],
      ['signal', {}],
    ])('the option %s: %p', async (option, value) => {
      const call = locks.withLock('k', { [option]: value } as WithLockOptions, () => {});
      await expect(call).rejects.toMatchObject({ code: 'LOCK_OPTIONS', option, value });
      await expect(call).rejects.toThrow(new RegExp(`Option '${option}' is .*: it must be `));
    });

    it.each([
      ['ttl', /^There is no option 'ttl': the options are leaseTime, waitTime, /],
      ['leasTime', /^There is no option 'leasTime': did you mean 'leaseTime'\?$/],
      ['replicatimeout', /did you mean 'replicaTimeout'/],
    ])('an option that does not exist: %s', async (option, message) => {
      const call = locks.withLock('k', { [option]: 5 } as WithLockOptions, () => {});
      await expect(call).rejects.toMatchObject({ code: 'LOCK_OPTIONS', option, value: 5 });
      await expect(call).rejects.toThrow(message);
    });

    it.each([
      ['work that is missing', [{}, undefined], 'needs the work'],
      ['work that is no function', [{}, 'work'], 'needs the work'],
      ['options behind the work, which would be ignored', [() => 1, { leaseTime: '5s' }], 'before the work'],
    ])('and %s', async (_, args, message) => {
      const withLock = locks.withLock.bind(locks) as (...all: unknown[]) => Promise<unknown>;
      await expect(withLock('k', ...args)).rejects.toThrow(message);
    });
  });

  it('accepts durations as text', async () => {
    const lock = await locks.acquire('k', { leaseTime: '1m', waitTime: '2 seconds' });
    expect(lock.leaseTime).toBe(60_000);
  });
});
