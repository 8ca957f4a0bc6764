import { beforeEach, describe, expect, it } from '@jest/globals';
import { LockContendedError, LockNotReplicatedError, LockUnavailableError } from '../../lib/lock/errors.js';
import type { AcquireOptions } from '../../lib/lock/options.js';
import type { MasterHealth } from '../../lib/store/lock-store.js';
import { settled } from '../support/manual-clock.js';
import { AWAY, LACKING, fakeQueue, type Caller, type FakeQueue } from './fake-queue.js';

describe('A queue of callers of one process', () => {
  let clock: FakeQueue['clock'];
  let store: FakeQueue['store'];
  let locks: FakeQueue['locks'];
  let callAs: FakeQueue['callAs'];
  let answer: FakeQueue['answer'];
  let policies: FakeQueue['policies'];
  let busyBy: FakeQueue['busyBy'];
  let change: FakeQueue['change'];

  beforeEach(() => {
    ({ clock, store, locks, callAs, answer, policies, busyBy, change } = fakeQueue());
  });

  describe('whose first caller fails', () => {
    it('ends the others with that failure when their time is up: if Redis is down the key is not busy', async () => {
      const callers = await Promise.all(Array.from({ length: 4 }, () => callAs('k', { waitTime: 1_500 })));
      expect(store.asked).toHaveLength(1);
      await clock.advance(1_500);
      await answer(store.last, AWAY);
      for (const { end, error } of callers) {
        expect(end).toBe('LOCK_UNAVAILABLE');
        expect((error as Error).message).toBe("Lock 'k' could not be taken: Redis is away.");
      }
      expect(store.asked).toHaveLength(1);
      expect(clock.timers).toBe(0);
    });

    it('never lets tryAcquire report that the key is busy', async () => {
      const tries = Promise.allSettled(
        Array.from({ length: 4 }, () => locks.tryAcquire('k', { waitTime: 1_500 })),
      );
      await clock.advance(1_500);
      await answer(store.last, AWAY);
      for (const outcome of await tries)
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'LOCK_UNAVAILABLE' } });
    });

    it('ends the others with too few confirmations as well, and with the time that the replicas had', async () => {
      await callAs('k', { replicaTimeout: 700 });
      const second = await callAs('k', { waitTime: 2_000, replicaTimeout: 500 });
      await answer(store.last, LACKING);
      await clock.advance(2_050);
      expect(second.error).toBeInstanceOf(LockNotReplicatedError);
      expect((second.error as Error).message).toContain(
        '1 of the 2 required replicas answered within 700 ms',
      );
    });

    it('passes the turn on when it leaves, and the others still end with its failure', async () => {
      const first = await callAs('k', { waitTime: 500 });
      const second = await callAs('k', { waitTime: 800 });
      const third = await callAs('k', { waitTime: 900 });
      await clock.advance(500);
      await answer(store.last, AWAY);
      expect(first.end).toBe('LOCK_UNAVAILABLE');
      expect(store.asked).toHaveLength(2);
      // The question of the second is open when the time of both ends.
      await clock.advance(400);
      await answer(store.last, LACKING);
      expect([second.end, third.end]).toEqual(['LOCK_NOT_REPLICATED', 'LOCK_NOT_REPLICATED']);
    });

    it('ends the others as contended if the key was found busy since', async () => {
      await callAs('k', { waitTime: 5_000 });
      const second = await callAs('k', { waitTime: 1_000 });
      await answer(store.last, AWAY);
      await clock.advance(30);
      expect(store.asked).toHaveLength(2);
      store.busy(store.last, 4_000);
      await clock.advance(970);
      expect(second.error).toBeInstanceOf(LockContendedError);
      expect(second.error).toMatchObject({ owner: 'rl:other-host:1:2', remainingTime: 4_000 - 970 });
    });

    it('ends the others with the failure if the key was busy before', async () => {
      await callAs('k', { waitTime: 5_000 });
      const second = await callAs('k', { waitTime: 1_000 });
      store.busy(store.last, 300);
      await clock.advance(302);
      expect(store.asked).toHaveLength(2);
      await answer(store.last, AWAY);
      await clock.advance(1_100);
      expect(second.end).toBe('LOCK_UNAVAILABLE');
    });
  });

  describe('whose first caller has no answer', () => {
    const health = (master: Partial<MasterHealth>): void => {
      store.health = () => ({ status: 'down', masters: [{ quarantine: 0, ...master } as MasterHealth] });
    };

    it('ends the others with what the store knows of its master', async () => {
      health({ reason: 'Redis at 127.0.0.1:1 cannot be used: ECONNREFUSED.' });
      await callAs('k', { waitTime: Infinity });
      const second = await callAs('k', { waitTime: 1_500 });
      await clock.advance(1_550);
      expect(second.error).toBeInstanceOf(LockUnavailableError);
      expect((second.error as Error).message).toBe(
        "Lock 'k' could not be taken: Redis at 127.0.0.1:1 cannot be used: ECONNREFUSED.",
      );
    });

    it('ends the others with the rest of the quarantine', async () => {
      health({ reason: 'Replicas are in quarantine for 9 s.', quarantine: 8_500 });
      await callAs('k', { waitTime: '1m' });
      const second = await callAs('k', { waitTime: 1_500 });
      await clock.advance(1_550);
      expect(second.error).toMatchObject({ code: 'LOCK_UNAVAILABLE', retryAfter: 8_500 });
    });

    it('ends the others so even if the key was busy when the store still answered', async () => {
      await callAs('k', { waitTime: Infinity });
      const second = await callAs('k', { waitTime: 5_000 });
      store.busy(store.last, 1_000);
      await clock.advance(5_050);
      expect(second.end).toBe('LOCK_UNAVAILABLE');
    });

    it.each([
      ['busy', 'LOCK_CONTENDED'],
      ['unavailable', 'LOCK_UNAVAILABLE'],
    ])('waits for an answer that may still come: %s', async (kind, code) => {
      await callAs('k', { waitTime: Infinity });
      store.busy(store.last, 1e9);
      const second = await callAs('k', { waitTime: 1_500 });
      await clock.advance(1_400);
      await change();
      expect(store.asked).toHaveLength(2);
      await clock.advance(150);
      expect(second.end).toBeUndefined();
      if (kind === 'busy') store.busy();
      else store.last.answer(AWAY);
      await settled();
      expect(second).toMatchObject({ end: code, endedAt: clock.monotonic() });
    });

    it('waits no longer than an answer may take', async () => {
      await callAs('k', { waitTime: Infinity });
      store.busy(store.last, 1e9);
      const start = clock.monotonic();
      const second = await callAs('k', { waitTime: 1_500 });
      await clock.advance(1_400);
      await change();
      await clock.advance(5_000);
      expect(second).toMatchObject({ end: 'LOCK_UNAVAILABLE', endedAt: start + 1_400 + 1_000 });
    });

    it('lets no caller whose time is up hold up another', async () => {
      const abort = new AbortController();
      void locks.acquire('k', { signal: abort.signal }).catch(() => {});
      await settled();
      const second = await callAs('k', { waitTime: 500 });
      const third = await callAs('k', { waitTime: 5_000 });
      await clock.advance(600);
      expect(second.end).toBeUndefined();
      abort.abort();
      await settled();
      expect(second.end).toBe('LOCK_UNAVAILABLE');
      expect(store.asked).toHaveLength(2);
      store.grant();
      await settled();
      expect(third.end).toBe('held');
    });
  });

  it('names the caller of this process that holds the key', async () => {
    const first = await callAs('k');
    const second = await callAs('k', { waitTime: 100 });
    store.grant();
    await settled();
    expect(store.asked).toHaveLength(2);
    await clock.advance(100);
    // The caller's question is open, so the caller ends with the answer to the first.
    await clock.advance(2_000);
    expect(second.end).toBe('LOCK_UNAVAILABLE');
    const third = await callAs('k', { waitTime: 100 });
    const fourth = await callAs('k', { waitTime: 100 });
    await busyBy(store.last, store.asked[0]!);
    await clock.advance(100);
    for (const { error } of [third, fourth]) expect(error).toMatchObject({ owner: first.lock!.owner });
  });

  describe('of callers that do not wait', () => {
    const tryAs = async (options: AcquireOptions = {}): Promise<Caller> =>
      callAs('k', { waitTime: 0, ...options });

    it('ends callers that met an attempt of this process with its end: granted', async () => {
      const first = await tryAs();
      const second = await tryAs();
      const [head, next] = store.asked;
      await busyBy(next!, head!);
      expect(second.end).toBeUndefined();
      store.grant(head);
      await settled();
      expect(first.end).toBe('held');
      expect(second.error).toMatchObject({ code: 'LOCK_CONTENDED', owner: first.lock!.owner });
    });

    it('ends them with its end: not confirmed, and the key is free', async () => {
      const callers = [await tryAs(), await tryAs(), await tryAs()];
      const [head, ...others] = store.asked;
      for (const other of others) await busyBy(other, head!);
      await answer(head!, LACKING);
      expect(callers.map(({ end }) => end)).toEqual(Array(3).fill('LOCK_NOT_REPLICATED'));
      expect(store.asked).toHaveLength(3);
    });

    it('asks again for a caller that needs less than the failed attempt', async () => {
      await tryAs({ replicas: 'all' });
      const second = await tryAs({ replicas: 'majority' });
      const [head, next] = store.asked;
      await busyBy(next!, head!);
      await answer(head!, LACKING);
      expect(policies()).toEqual(['all', 'majority', 'majority']);
      store.grant();
      await settled();
      expect(second.end).toBe('held');
    });

    it('does not wait for an attempt that never ends', async () => {
      const start = clock.monotonic();
      await callAs('k', { waitTime: Infinity });
      const second = await tryAs();
      await busyBy(store.last, store.asked[0]!);
      await clock.advance(5_000);
      expect(second).toMatchObject({ end: 'LOCK_UNAVAILABLE', endedAt: start + 2_000 });
    });

    it('ends at once as contended if another process holds the key', async () => {
      await callAs('k');
      const second = await tryAs();
      store.busy();
      await settled();
      expect(second.error).toMatchObject({ code: 'LOCK_CONTENDED', owner: 'rl:other-host:1:2' });
    });
  });

  describe('of callers that wait in vain', () => {
    it('ends each at once if the store needs longer than the rest of waitTime', async () => {
      const first = await callAs('k', { waitTime: 5_000 });
      const second = await callAs('k', { waitTime: 30_000 });
      await clock.advance(1_000);
      await answer(store.last, { ...AWAY, retryAfter: 4_001 });
      expect(first.error).toMatchObject({ code: 'LOCK_UNAVAILABLE', retryAfter: 4_001 });
      expect(store.asked).toHaveLength(2);
      await answer(store.last, { ...AWAY, retryAfter: 4_001 });
      expect(second.end).toBeUndefined();
      await clock.advance(LONGEST_PAUSE);
      store.grant();
      await settled();
      expect(second.end).toBe('held');
    });

    it('ends each at once, with its own answer, if another question cannot help', async () => {
      const first = await callAs('k');
      const second = await callAs('k');
      await answer(store.last, { ...AWAY, permanent: true });
      await answer(store.last, { ...AWAY, permanent: true });
      expect([first.end, second.end]).toEqual(['LOCK_UNAVAILABLE', 'LOCK_UNAVAILABLE']);
    });
  });

  it('keeps its order if a listener of events cancels callers in the middle of the queue', async () => {
    const abort = new AbortController();
    locks.events.subscribe(({ type }) => type === 'unconfirmed' && abort.abort(new Error('enough')));
    const first = locks.acquire('k', { signal: abort.signal }).catch((error: unknown) => error);
    await settled();
    const second = await callAs('k');
    await answer(store.last, LACKING);
    expect(await first).toMatchObject({ message: 'enough' });
    expect(store.asked).toHaveLength(2);
    store.grant();
    await settled();
    expect(second.end).toBe('held');
    await second.lock!.release();
    await clock.advance(20_000);
    expect(clock.timers).toBe(0);
  });
});

const LONGEST_PAUSE = 1_000;
