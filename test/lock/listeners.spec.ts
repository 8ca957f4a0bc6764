import { getEventListeners, getMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { config, filter, firstValueFrom, map, of, tap, toArray, concatMap, type Observable } from 'rxjs';
import type { LockEvent } from '../../lib/lock/events.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { AcquireRequest, Attempt, StoreReport } from '../../lib/store/lock-store.js';
import { MemoryStore } from '../../lib/store/memory/memory-store.js';
import { settled } from '../support/manual-clock.js';
import { lockDefaults } from '../support/lock-defaults.js';
import { UNPRINTABLE } from '../support/unprintable.js';

const defaults = lockDefaults({ leaseTime: 9_000, quarantine: 9_000 });

class CountingStore extends MemoryStore {
  asked = 0;

  override acquire(request: AcquireRequest): Attempt {
    this.asked++;
    return super.acquire(request);
  }
}

let store: CountingStore;
let locks: LockService;
let reports: StoreReport[];
/** Errors that would have ended the process. */
let unhandled: unknown[];
const onUnhandled = (error: unknown): void => void unhandled.push(error);

beforeEach(() => {
  store = new CountingStore();
  locks = new LockService(store, defaults);
  reports = [];
  unhandled = [];
  locks.reports.subscribe((report) => reports.push(report));
  config.onUnhandledError = onUnhandled;
  process.on('unhandledRejection', onUnhandled);
});
afterEach(async () => {
  await locks.close();
  await settled();
  config.onUnhandledError = null;
  process.off('unhandledRejection', onUnhandled);
  expect(unhandled).toEqual([]);
});

/** Takes and releases a lock, with an event for each. */
async function lockOnce(): Promise<void> {
  const lock = await locks.acquire('k');
  await settled();
  expect(lock.held).toBe(true);
  expect(await lock.release()).toBe(true);
  await settled();
}

const fail = (): never => {
  throw new Error('mine');
};
const rejecting = (() => Promise.reject(new Error('mine'))) as () => void;
const codes = (): string[] => reports.map(({ code }) => code);

describe('A subscriber of events that throws', () => {
  it.each<[string, (events: Observable<LockEvent>) => unknown]>([
    ['as a function', (events) => events.subscribe(fail)],
    ['as an observer', (events) => events.subscribe({ next: fail })],
    ['later, in a promise', (events) => events.subscribe(rejecting)],
    ['behind operators', (events) => events.pipe(filter(Boolean), toArraySoFar).subscribe(fail)],
    ['in an operator', (events) => events.pipe(map(fail)).subscribe()],
    [
      'in an operator before others',
      (events) =>
        events
          .pipe(tap(fail))
          .pipe(map(String))
          .subscribe(() => {}),
    ],
    ['in an inner Observable', (events) => events.pipe(concatMap(() => of(1).pipe(map(fail)))).subscribe()],
    ['in its error handler', (events) => events.pipe(map(fail)).subscribe({ error: fail })],
  ])('ends neither the process nor a lock, and is reported once: %s', async (_, subscribe) => {
    subscribe(locks.events);
    await lockOnce();
    await lockOnce();
    expect(codes()).toEqual(['listener-failed']);
    expect(reports[0]!.level).toBe('error');
    expect(reports[0]!.message).toMatch(
      /^A subscriber of LockService\.events threw an error\..*Error: mine\n *at /s,
    );
  });

  it.each(UNPRINTABLE)('ends nothing by %s', async (_, thrown) => {
    locks.events.subscribe(() => {
      throw thrown;
    });
    await lockOnce();
    expect(codes()).toEqual(['listener-failed']);
    expect(reports[0]!.message).toContain('The error: ');
  });

  it('still gets every event, like all other subscribers', async () => {
    const heard: string[] = [];
    const others: string[] = [];
    locks.events.subscribe(({ type }) => {
      heard.push(type);
      fail();
    });
    locks.events.subscribe(({ type }) => others.push(type));
    await lockOnce();
    expect(heard).toEqual(['acquired', 'released']);
    expect(others).toEqual(heard);
    expect(reports[0]!.message).toContain('the subscriber receives what follows');
  });

  it('has its own handler for errors of its operators', async () => {
    const errors: unknown[] = [];
    locks.events.pipe(map(fail)).subscribe({ error: (error) => errors.push(error) });
    await lockOnce();
    expect(errors).toEqual([new Error('mine')]);
    expect(codes()).toEqual([]);
  });

  it('is reported as unsubscribed if the error ended the subscription', async () => {
    locks.events.pipe(map(fail)).subscribe();
    await lockOnce();
    expect(reports[0]!.message).toContain('its subscription has ended');
  });

  it('is reported even after the service was closed', async () => {
    locks.events.subscribe({ complete: fail });
    await locks.close();
    expect(codes()).toEqual(['listener-failed']);
  });

  it('is reported for each subscriber', async () => {
    locks.events.subscribe(fail);
    locks.events.subscribe(fail);
    await lockOnce();
    expect(codes()).toEqual(['listener-failed', 'listener-failed']);
  });
});

describe('A subscriber of reports that throws', () => {
  it('affects no lock, and is reported to the other subscribers', async () => {
    locks.reports.subscribe(fail);
    locks.events.subscribe(fail);
    await lockOnce();
    const messages = reports.map(({ message }) => message.replace(/ threw.*/s, ''));
    expect(messages.toSorted()).toEqual([
      'A subscriber of LockService.events',
      'A subscriber of LockService.reports',
    ]);
  });
});

describe('An observer of acquisitions that throws', () => {
  it.each([
    ['when it is asked', { onAsked: fail }],
    ['at the end', { onAsked: () => fail }],
  ])('affects no lock, and is reported once: %s', async (_, observer) => {
    locks.observe(observer);
    await lockOnce();
    await lockOnce();
    const lock = await locks.acquire('k');
    expect(await locks.tryAcquire('k')).toBeNull();
    await lock.release();
    expect(codes()).toEqual(['listener-failed']);
    expect(reports[0]!.message).toMatch(/^The observer of acquisitions threw an error\..*Error: mine/s);
  });
});

describe('Events', () => {
  it('are an Observable like any other: subscriptions end, and promises and pipes work', async () => {
    const heard: string[] = [];
    const subscription = locks.events.subscribe({
      next({ type }) {
        heard.push(type);
        if (type === 'acquired') subscription.unsubscribe();
      },
    });
    const first = firstValueFrom(locks.events.pipe(filter(({ type }) => type === 'released')));
    const all = firstValueFrom(
      locks.events.pipe(
        map(({ type }) => type),
        toArray(),
      ),
    );
    const each = locks.events.forEach(fail).catch((error: unknown) => error);
    await lockOnce();
    expect(heard).toEqual(['acquired']);
    expect(await first).toMatchObject({ type: 'released', keys: ['k'] });
    expect(await each).toEqual(new Error('mine'));
    await locks.close();
    expect(await all).toEqual(['acquired', 'released']);
    expect(codes()).toEqual([]);
  });
});

describe('An AbortSignal', () => {
  it('with which many callers wait has one listener of this library, until the last wait has ended', async () => {
    const { signal } = new AbortController();
    const lock = await locks.acquire('k');
    const waiting = Array.from({ length: 20 }, () => locks.acquire('k', { signal, waitTime: 50 }));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    const ends = await Promise.allSettled(waiting);
    expect(ends.every(({ status }) => status === 'rejected')).toBe(true);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await lock.release();
    await (await locks.acquire('k', { signal })).release();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  it('ends all these waits with its reason', async () => {
    const abort = new AbortController();
    const lock = await locks.acquire('k');
    const waiting = ['k', 'k', 'l', 'k'].map((key) => locks.acquire(key, { signal: abort.signal }));
    await settled();
    abort.abort(new Error('enough'));
    const ends = await Promise.allSettled(waiting);
    expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled', 'rejected']);
    expect(ends[0]).toMatchObject({ reason: { message: 'enough' } });
    expect(await lock.release()).toBe(true);
  });

  it('gives no caller a turn in the queue only to cancel the caller', async () => {
    const abort = new AbortController();
    const lock = await locks.acquire('k');
    const { asked } = store;
    const waiting = Array.from({ length: 1_000 }, () =>
      locks.acquire('k', { signal: abort.signal, waitTime: Infinity }).catch(() => 'ended'),
    );
    abort.abort();
    await Promise.all(waiting);
    expect(store.asked - asked).toBe(1);
    await lock.release();
  });

  it('of a lock may be given to any number of requests', async () => {
    const lock = await locks.acquire('k');
    // Node warns of more than ten listeners by default.
    expect(getMaxListeners(lock.signal)).toBe(Infinity);
    await lock.release();
  });
});

const toArraySoFar = map((event: LockEvent) => [event]);
