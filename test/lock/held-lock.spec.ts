import { beforeEach, describe, expect, it } from '@jest/globals';
import { LockLostError, LockOptionsError } from '../../lib/lock/errors.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { WithLockOptions } from '../../lib/lock/options.js';
import { until } from '../support/eventually.js';
import { settled } from '../support/manual-clock.js';
import { fakeService, serviceDefaults, type FakeService } from './fake-service.js';

describe('A lock of a store whose answers the test gives', () => {
  let clock: FakeService['clock'];
  let store: FakeService['store'];
  let locks: FakeService['locks'];
  let events: FakeService['events'];
  let held: FakeService['held'];

  beforeEach(() => {
    ({ clock, store, locks, events, held } = fakeService());
  });

  describe('a held lock', () => {
    it('has its keys, owner, token and times', async () => {
      const lock = await held();
      expect(lock).toMatchObject({ key: 'k', keys: ['k'], confirmedBy: 2, leaseTime: 9_000, held: true });
      expect(lock.owner).toMatch(/^rl:[^ ]+:\d+:[\w-]+:\w+$/);
      expect(lock.acquiredAt.getTime()).toBe(clock.wall());
      expect(lock.remainingTime).toBeCloseTo(9_000 - 92);
      expect(locks.held).toEqual([lock]);
    });

    it('is renewed every third of its lease, and stays held', async () => {
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

    it('never has two renewals under way', async () => {
      await held();
      await clock.advance(8_000);
      expect(store.renewals).toHaveLength(1);
    });

    it('is renewed at once if its key was changed, and again if the key changes meanwhile', async () => {
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

    it('is lost at once if its key is gone', async () => {
      const lock = await held();
      const { signal } = lock;
      store.changes.next({ key: 'k' });
      store.renewals[0]!.answer({ kind: 'gone', key: 'k' });
      await settled();
      expect(signal.aborted).toBe(true);
      expect(signal.reason).toBeInstanceOf(LockLostError);
      expect(lock.held).toBe(false);
      expect(() => lock.assertHeld()).toThrow(
        /Lock 'k' was lost at .*: another client deleted or took its key 'k', or the server lost the key in a restart or a fail-over\. /,
      );
      expect(events.at(-1)).toMatchObject({ type: 'lost', keys: ['k'] });
      expect(locks.held).toEqual([]);
      expect(locks.health()).toMatchObject({ held: 0, lost: 1 });
    });

    it('on several keys gives the others back if one key is gone', async () => {
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

    it('is lost and taken back if its validity ends without a confirmation', async () => {
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

    it('is lost at the end of its validity with the reason why its renewal was not confirmed', async () => {
      const lock = await held();
      store.whyNot = { kind: 'unavailable', reason: 'Redis is away.' };
      await clock.advance(9_000);
      expect(() => lock.assertHeld()).toThrow(
        /its lease of 9000 ms ended before a renewal was confirmed: Redis is away\. Stop what/,
      );
    });

    it('is lost if the store gives its renewal up', async () => {
      const lock = await held();
      await clock.advance(3_000);
      store.renewals[0]!.answer({ kind: 'expired', why: { kind: 'unavailable', reason: 'Redis is away.' } });
      await settled();
      expect(() => lock.assertHeld()).toThrow(/its renewal was given up: Redis is away\. Stop what/);
      expect(store.releases).toHaveLength(1);
    });

    it('is not held after the process stood still for longer than the lease', async () => {
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

    it('is not renewed after maxHoldTime, and its signal aborts when the last lease ends', async () => {
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

    it('is watched only if it is still held 3 to 6 ms after the grant', async () => {
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

    it('watches its keys again if the first try failed and no renewal does so', async () => {
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

    it('that is not renewed checks its key if the key was changed', async () => {
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

    it('has no longer lease than the quarantine', async () => {
      const strict = new LockService(store, { ...serviceDefaults, quarantine: 20_000 }, clock);
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

    it('is extended for the requested lease even if a renewal is under way', async () => {
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

    it('cannot be extended if its key is gone', async () => {
      const lock = await held();
      const extended = lock.extend();
      store.renewals[0]!.answer({ kind: 'gone', key: 'k' });
      await expect(extended).rejects.toBeInstanceOf(LockLostError);
    });
  });

  it('is reported to an observer of acquisitions, and to listeners with its label', async () => {
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
    it('happens only once', async () => {
      const lock = await held();
      expect(await lock.release()).toBe(true);
      expect(await lock.release()).toBe(false);
      expect(store.releases).toHaveLength(1);
      expect(lock.signal.aborted).toBe(false);
      expect(() => lock.assertHeld()).toThrow(/released/);
      expect(events.at(-1)).toMatchObject({ type: 'released' });
    });

    it('resolves with false if the key was no longer held by the lock', async () => {
      const lock = await held();
      store.releaseOutcome = { kind: 'released', ours: false };
      expect(await lock.release()).toBe(false);
      expect(locks.health()).toMatchObject({ held: 0, lost: 1 });
    });

    it('is no loss if a later renewal finds the key gone', async () => {
      const lock = await held();
      await clock.advance(3_000);
      await lock.release();
      store.renewals[0]!.answer({ kind: 'gone', key: 'k' });
      await settled();
      expect(events.map(({ type }) => type)).toEqual(['acquired', 'released']);
    });

    it('rejects if Redis did not answer', async () => {
      const lock = await held();
      store.releaseOutcome = { kind: 'unavailable', reason: 'no answer' };
      await expect(lock.release()).rejects.toMatchObject({
        code: 'LOCK_UNAVAILABLE',
        message: "Lock 'k' could not be released: no answer",
      });
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

    it('rejects if the replicas do not confirm a minHoldTime that is longer than the lease', async () => {
      const lock = await held('k', { minHoldTime: 60_000 });
      const released = expect(lock.release()).rejects.toMatchObject({
        code: 'LOCK_UNAVAILABLE',
        message: "Lock 'k' could not be kept busy: Redis is away",
      });
      await settled();
      store.renewals[0]!.answer({ kind: 'expired', why: { kind: 'unavailable', reason: 'Redis is away.' } });
      await released;
    });

    it('follows at the end of an await using block', async () => {
      {
        await using lock = await held();
        expect(lock.held).toBe(true);
      }
      expect(store.releases).toHaveLength(1);
    });
  });
});
