import { beforeEach, describe, expect, it } from '@jest/globals';
import { LockUnavailableError } from '../../lib/lock/errors.js';
import type { AcquireOptions } from '../../lib/lock/options.js';
import { settled } from '../support/manual-clock.js';
import { AWAY, LACKING, fakeQueue, type FakeQueue } from './fake-queue.js';

const LONGEST_PAUSE = 1_000;

describe('A queue of callers with different demands', () => {
  let clock: FakeQueue['clock'];
  let store: FakeQueue['store'];
  let locks: FakeQueue['locks'];
  let callAs: FakeQueue['callAs'];
  let answer: FakeQueue['answer'];
  let policies: FakeQueue['policies'];
  let keysAsked: FakeQueue['keysAsked'];
  let busyBy: FakeQueue['busyBy'];
  let change: FakeQueue['change'];

  beforeEach(() => {
    ({ clock, store, locks, callAs, answer, policies, keysAsked, busyBy, change } = fakeQueue());
  });

  it('lets a caller that needs a majority ask while the first, which needs all, pauses after a failure', async () => {
    await callAs('k', { replicas: 'all' });
    const second = await callAs('k', { replicas: 'majority' });
    expect(policies()).toEqual(['all']);
    await answer(store.last, LACKING);
    expect(policies()).toEqual(['all', 'majority']);
    store.grant();
    await settled();
    expect(second.end).toBe('held');
  });

  it('lets only one of ten thousand callers with the same need ask', async () => {
    const calls = Array.from({ length: 10_000 }, () =>
      locks.acquire('k', { waitTime: 3_000 }).catch((error: unknown) => error),
    );
    await settled();
    for (let i = 0; i < 5; i++) {
      await answer(store.last, AWAY);
      await clock.advance(LONGEST_PAUSE);
    }
    expect(store.asked.length).toBeLessThanOrEqual(6);
    await answer(store.last, AWAY);
    for (const error of await Promise.all(calls)) expect(error).toBeInstanceOf(LockUnavailableError);
  });

  it('lets only one of thousands ask for a majority', async () => {
    const calls = Array.from({ length: 3_000 }, (_, i) =>
      locks
        .acquire('k', { waitTime: 3_000, replicas: i % 2 === 0 ? 'all' : 'majority' })
        .catch((error: unknown) => error),
    );
    await settled();
    for (let i = 0; i < 10; i++) {
      await answer(store.last, AWAY);
      await clock.advance(LONGEST_PAUSE / 3);
    }
    expect(store.asked.length).toBeLessThanOrEqual(12);
    await clock.advance(3_000);
    await answer(store.last, AWAY);
    for (const error of await Promise.all(calls)) expect(error).toBeInstanceOf(LockUnavailableError);
  });

  it('passes the turn from a caller that fails to the next that needs less or other keys, and back to the first', async () => {
    await callAs('k', { replicas: 'all' });
    await callAs('k', { replicas: 'all' });
    await callAs('k', { replicas: 2 });
    await callAs('k', { replicas: 3 });
    await callAs('k', { replicas: 'majority' });
    for (let i = 0; i < 3; i++) await answer(store.last, LACKING);
    expect(policies()).toEqual(['all', 2, 'majority']);
    await clock.advance(LONGEST_PAUSE);
    expect(policies()).toEqual(['all', 2, 'majority', 'all']);
  });

  it('keeps the order of callers while the key is held', async () => {
    const first = await callAs('k', { replicas: 'all' });
    const second = await callAs('k', { replicas: 'majority' });
    store.busy(store.last, 1e9);
    await settled();
    await clock.advance(3_000);
    expect(store.asked).toHaveLength(1);
    await change();
    expect(policies()).toEqual(['all', 'all']);
    store.grant();
    await settled();
    expect([first.end, second.end]).toEqual(['held', undefined]);
  });

  it('keeps the order of callers that were overtaken', async () => {
    const order: string[] = [];
    const note = (name: string, options: AcquireOptions): void => {
      void locks.acquire('k', options).then(() => order.push(name));
    };
    note('all 1', { replicas: 'all' });
    note('all 2', { replicas: 'all' });
    note('majority', { replicas: 'majority' });
    await settled();
    await answer(store.last, LACKING);
    for (let i = 0; i < 3; i++) {
      store.grant();
      await settled();
      await clock.advance(LONGEST_PAUSE);
    }
    expect(order).toEqual(['majority', 'all 1', 'all 2']);
  });

  it('does not ask while a caller that overtook the first holds the key', async () => {
    await callAs('k', { replicas: 'all' });
    const second = await callAs('k', { replicas: 'majority' });
    const third = await callAs('k', { replicas: 'majority' });
    await answer(store.last, LACKING);
    store.grant();
    await settled();
    expect(policies()).toEqual(['all', 'majority']);
    await second.lock!.release();
    await change();
    expect(policies()).toEqual(['all', 'majority', 'majority']);
    store.grant();
    await settled();
    expect(third.end).toBe('held');
  });

  it('lets the next ask if the first has no answer for longer than confirmations may take', async () => {
    await callAs(['a', 'b']);
    store.busy();
    await change('a');
    expect(keysAsked()).toEqual(['a+b', 'a+b']);
    // The master of b does not answer, a is free.
    const second = await callAs('a');
    await clock.advance(1_000);
    expect(keysAsked()).toHaveLength(2);
    await clock.advance(150);
    expect(keysAsked()).toEqual(['a+b', 'a+b', 'a']);
    store.grant();
    await settled();
    expect(second.end).toBe('held');
  });

  it('ends as contended if a caller behind the first found the key busy, even if the first has no answer', async () => {
    await callAs(['a', 'b']);
    store.busy();
    await change('a');
    await callAs('a');
    await clock.advance(1_150);
    store.busy(store.last, 1e9);
    const third = await callAs('a', { waitTime: 2_000 });
    await clock.advance(2_000);
    expect(keysAsked()).toEqual(['a+b', 'a+b', 'a']);
    expect(third.end).toBe('LOCK_CONTENDED');
  });

  it('lets the next ask as well if that caller came late', async () => {
    await callAs('k', { waitTime: Infinity });
    await clock.advance(60_000);
    const second = await callAs('k', { replicaTimeout: 2_000 });
    await clock.advance(1_150);
    expect(store.asked).toHaveLength(2);
    store.grant();
    await settled();
    expect(second.end).toBe('held');
  });

  it('lets a caller ask again at the change if an attempt that is being taken back made the key busy', async () => {
    await callAs('k', { replicas: 'all' });
    const second = await callAs('k', { replicas: 'majority' });
    const [head] = store.asked;
    await answer(head!, LACKING);
    await busyBy(store.last, head!);
    expect(store.asked).toHaveLength(2);
    await change();
    expect(policies()).toEqual(['all', 'majority', 'majority']);
    store.grant();
    await settled();
    expect(second.end).toBe('held');
  });

  it('lets that caller ask again if the change overtook the busy answer', async () => {
    await callAs('k', { replicas: 'all' });
    await callAs('k', { replicas: 'majority' });
    const [head] = store.asked;
    await answer(head!, LACKING);
    await change();
    await busyBy(store.asked[1]!, head!);
    expect(policies()).toEqual(['all', 'majority', 'majority']);
  });

  it('names no attempt of this process as the holder: an attempt holds nothing', async () => {
    const first = await callAs('k', { replicas: 'all', waitTime: 400 });
    const second = await callAs('k', { replicas: 'majority', waitTime: 300 });
    const [head] = store.asked;
    await answer(head!, LACKING);
    await busyBy(store.last, head!);
    await clock.advance(2_400);
    expect([first.end, second.end]).toEqual(['LOCK_NOT_REPLICATED', 'LOCK_NOT_REPLICATED']);
  });

  it('gives the first its turn again after eight failures, however many different demands there are', async () => {
    await callAs(['k', 'own'], { waitTime: Infinity });
    store.busy();
    await change();
    for (let i = 0; i < 40; i++) await callAs(['k', `own-${i}`], { waitTime: Infinity });
    await answer(store.last, AWAY);
    let turns = 0;
    for (let i = 0; i < 60; i++) {
      await clock.advance(LONGEST_PAUSE);
      if (store.last.request.keys.includes('own')) turns++;
      await answer(store.last, AWAY);
    }
    expect(turns).toBeGreaterThan(5);
    // Each of the other callers has had a turn, too.
    expect(new Set(keysAsked()).size).toBe(41);
    await locks.close();
  });
});
