import { beforeEach, describe, expect, it } from '@jest/globals';
import { LockContendedError, LockNotReplicatedError, LockUnavailableError } from '../../lib/lock/errors.js';
import { LockService } from '../../lib/lock/lock-service.js';
import type { AcquireOptions } from '../../lib/lock/options.js';
import type { Lock } from '../../lib/lock/lock.js';
import type { MasterHealth, Unavailable, Unconfirmed } from '../../lib/store/lock-store.js';
import { ManualClock, settled } from '../support/manual-clock.js';
import { FakeStore, type Asked } from './fake-store.js';
import { lockDefaults } from '../support/lock-defaults.js';

const defaults = lockDefaults({ leaseTime: 9_000, renew: false, quarantine: 9_000 });

const AWAY: Unavailable = { kind: 'unavailable', reason: 'Redis is away.' };
const LACKING: Unconfirmed = { kind: 'unconfirmed', confirmed: 1, required: 2, replicas: [] };

describe('A queue of callers of one process', () => {
  let clock: ManualClock;
  let store: FakeStore;
  let locks: LockService;
  beforeEach(() => {
    clock = new ManualClock();
    store = new FakeStore(clock);
    locks = new LockService(store, defaults, clock);
  });

  /** How a caller ends: `held`, or the code of its error, and when. */
  interface Caller {
    end: string | undefined;
    endedAt: number | undefined;
    error: unknown;
    lock: Lock | undefined;
  }
  const callAs = async (key: string | string[], options?: AcquireOptions): Promise<Caller> => {
    const caller: Caller = { end: undefined, endedAt: undefined, error: undefined, lock: undefined };
    const end = (how: string): void => {
      caller.end = how;
      caller.endedAt = clock.monotonic();
    };
    locks.acquire(key, options).then(
      (lock) => {
        caller.lock = lock;
        end('held');
      },
      (error: unknown) => {
        caller.error = error;
        end((error as { code: string }).code);
      },
    );
    await settled();
    return caller;
  };
  const answer = async (asked: Asked, outcome: Parameters<Asked['answer']>[0]): Promise<void> => {
    asked.answer(outcome);
    await settled();
  };
  const policies = (): unknown[] => store.asked.map(({ request }) => request.replicas);
  const keysAsked = (): string[] => store.asked.map(({ request }) => request.keys.join('+'));
  /** Busy by the attempt of another caller. */
  const busyBy = async (asked: Asked, other: Asked, key = asked.request.keys[0]!): Promise<void> => {
    const holder = { owner: other.request.owner, token: 5, remainingTime: 9_000, inCooldown: false };
    await answer(asked, { kind: 'busy', key, holder });
  };
  const change = async (key = 'k'): Promise<void> => {
    store.changes.next({ key });
    await settled();
  };

  describe('whose first caller fails', () => {
    it('tells all behind it that failure when their time is up: Redis that is down is not busy', async () => {
      const callers = await Promise.all(Array.from({ length: 4 }, () => callAs('k', { waitTime: 1_500 })));
      expect(store.asked).toHaveLength(1);
      await clock.advance(1_500);
      await answer(store.last, AWAY);
      for (const { end, error } of callers) {
        expect(end).toBe('LOCK_UNAVAILABLE');
        expect((error as Error).message).toBe("Lock 'k' could not be decided: Redis is away.");
      }
      expect(store.asked).toHaveLength(1);
      expect(clock.timers).toBe(0);
    });

    it('never lets tryAcquire take it for busy', async () => {
      const tries = Promise.allSettled(
        Array.from({ length: 4 }, () => locks.tryAcquire('k', { waitTime: 1_500 })),
      );
      await clock.advance(1_500);
      await answer(store.last, AWAY);
      for (const outcome of await tries)
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'LOCK_UNAVAILABLE' } });
    });

    it('tells its reason for want of confirmations, too, with the time that these had', async () => {
      await callAs('k', { replicaTimeout: 700 });
      const second = await callAs('k', { waitTime: 2_000, replicaTimeout: 500 });
      await answer(store.last, LACKING);
      await clock.advance(2_050);
      expect(second.error).toBeInstanceOf(LockNotReplicatedError);
      expect((second.error as Error).message).toContain(
        '1 of the 2 required replicas answered within 700 ms',
      );
    });

    it('gives the turn to the next when it leaves, and its failure goes on to be theirs', async () => {
      const first = await callAs('k', { waitTime: 500 });
      const second = await callAs('k', { waitTime: 800 });
      const third = await callAs('k', { waitTime: 900 });
      await clock.advance(500);
      await answer(store.last, AWAY);
      expect(first.end).toBe('LOCK_UNAVAILABLE');
      expect(store.asked).toHaveLength(2);
      // The second's own question is out when the time of both ends.
      await clock.advance(400);
      await answer(store.last, LACKING);
      expect([second.end, third.end]).toEqual(['LOCK_NOT_REPLICATED', 'LOCK_NOT_REPLICATED']);
    });

    it('tells that the key is busy if that was found since', async () => {
      await callAs('k', { waitTime: 5_000 });
      const second = await callAs('k', { waitTime: 1_000 });
      await answer(store.last, AWAY);
      await clock.advance(30);
      expect(store.asked).toHaveLength(2);
      store.busy(store.last, 4_000);
      await clock.advance(970);
      expect(second.error).toBeInstanceOf(LockContendedError);
      expect(second.error).toMatchObject({ owner: 'rl:somebody:1:else', remainingTime: 4_000 - 970 });
    });

    it('tells of the failure if the key was busy before', async () => {
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

    it('tells the others at the end of their time what the store knows of its master', async () => {
      health({ reason: 'Redis at 127.0.0.1:1 cannot be used: ECONNREFUSED.' });
      await callAs('k', { waitTime: Infinity });
      const second = await callAs('k', { waitTime: 1_500 });
      await clock.advance(1_550);
      expect(second.error).toBeInstanceOf(LockUnavailableError);
      expect((second.error as Error).message).toBe(
        "Lock 'k' could not be decided: Redis at 127.0.0.1:1 cannot be used: ECONNREFUSED.",
      );
    });

    it('tells how long the quarantine lasts', async () => {
      health({ reason: 'Replicas are in quarantine for 9 s.', quarantine: 8_500 });
      await callAs('k', { waitTime: '1m' });
      const second = await callAs('k', { waitTime: 1_500 });
      await clock.advance(1_550);
      expect(second.error).toMatchObject({ code: 'LOCK_UNAVAILABLE', retryAfter: 8_500 });
    });

    it('tells them so although the key was busy when the store still answered', async () => {
      await callAs('k', { waitTime: Infinity });
      const second = await callAs('k', { waitTime: 5_000 });
      store.busy(store.last, 1_000);
      await clock.advance(5_050);
      expect(second.end).toBe('LOCK_UNAVAILABLE');
    });

    it.each([
      ['busy', 'LOCK_CONTENDED'],
      ['unavailable', 'LOCK_UNAVAILABLE'],
    ])('waits for an answer that may come any moment: %s', async (kind, code) => {
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

    it('waits no longer for it than it may take', async () => {
      await callAs('k', { waitTime: Infinity });
      store.busy(store.last, 1e9);
      const start = clock.monotonic();
      const second = await callAs('k', { waitTime: 1_500 });
      await clock.advance(1_400);
      await change();
      await clock.advance(5_000);
      expect(second).toMatchObject({ end: 'LOCK_UNAVAILABLE', endedAt: start + 1_400 + 1_000 });
    });

    it('keeps a caller whose time is up out of the way of all others', async () => {
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
    // Its own question is out: the answer to the first is what is known.
    await clock.advance(2_000);
    expect(second.end).toBe('LOCK_UNAVAILABLE');
    const third = await callAs('k', { waitTime: 100 });
    const fourth = await callAs('k', { waitTime: 100 });
    await busyBy(store.last, store.asked[0]!);
    await clock.advance(100);
    for (const { error } of [third, fourth]) expect(error).toMatchObject({ owner: first.lock!.owner });
  });

  describe('with different demands', () => {
    it('lets one that needs a majority ask while the first, which needs all, pauses after a failure', async () => {
      await callAs('k', { replicas: 'all' });
      const second = await callAs('k', { replicas: 'majority' });
      expect(policies()).toEqual(['all']);
      await answer(store.last, LACKING);
      expect(policies()).toEqual(['all', 'majority']);
      store.grant();
      await settled();
      expect(second.end).toBe('held');
    });

    it('lets one of ten thousand callers with the same need ask', async () => {
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

    it('lets a majority of thousands be asked for by one of them', async () => {
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

    it('passes the turn on from one that fails to the next that needs less or something else, and back to the first', async () => {
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

    it('keeps the order of callers without need: callers wait in the queue for a key that is held', async () => {
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

    it('keeps the order of those that were overtaken', async () => {
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

    it('does not ask on while the key is held by one that has overtaken the first', async () => {
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

    it('tells that the key is busy if one behind the first was told so, though the first has no answer', async () => {
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

    it('does so as well if the next came late', async () => {
      await callAs('k', { waitTime: Infinity });
      await clock.advance(60_000);
      const second = await callAs('k', { replicaTimeout: 2_000 });
      await clock.advance(1_150);
      expect(store.asked).toHaveLength(2);
      store.grant();
      await settled();
      expect(second.end).toBe('held');
    });

    it('asks again at the change if it found the key written by an attempt that is being taken back', async () => {
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

    it('asks again if the change overtook that answer', async () => {
      await callAs('k', { replicas: 'all' });
      await callAs('k', { replicas: 'majority' });
      const [head] = store.asked;
      await answer(head!, LACKING);
      await change();
      await busyBy(store.asked[1]!, head!);
      expect(policies()).toEqual(['all', 'majority', 'majority']);
    });

    it('is told no holder that never was: an attempt of this process holds nothing', async () => {
      const first = await callAs('k', { replicas: 'all', waitTime: 400 });
      const second = await callAs('k', { replicas: 'majority', waitTime: 300 });
      const [head] = store.asked;
      await answer(head!, LACKING);
      await busyBy(store.last, head!);
      await clock.advance(2_400);
      expect([first.end, second.end]).toEqual(['LOCK_NOT_REPLICATED', 'LOCK_NOT_REPLICATED']);
    });

    it('gives the first its turn again in between, however many different demands there are', async () => {
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
      // And each of the others has had its turn.
      expect(new Set(keysAsked()).size).toBe(41);
      await locks.close();
    });
  });

  describe('that is not waited in', () => {
    const tryAs = async (options: AcquireOptions = {}): Promise<Caller> =>
      callAs('k', { waitTime: 0, ...options });

    it('tells callers that found the key written by an attempt how that ends: granted', async () => {
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

    it('tells them how that ends: not confirmed, and the key is free', async () => {
      const callers = [await tryAs(), await tryAs(), await tryAs()];
      const [head, ...others] = store.asked;
      for (const other of others) await busyBy(other, head!);
      await answer(head!, LACKING);
      expect(callers.map(({ end }) => end)).toEqual(Array(3).fill('LOCK_NOT_REPLICATED'));
      expect(store.asked).toHaveLength(3);
    });

    it('asks again for one that needs less than what failed', async () => {
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

    it('tells at once of a holder of another process', async () => {
      await callAs('k');
      const second = await tryAs();
      store.busy();
      await settled();
      expect(second.error).toMatchObject({ code: 'LOCK_CONTENDED', owner: 'rl:somebody:1:else' });
    });
  });

  describe('that waits in vain', () => {
    it('ends at once if the store says that it takes longer than the rest of waitTime', async () => {
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

    it('ends at once if asking again cannot help, each with its own answer', async () => {
      const first = await callAs('k');
      const second = await callAs('k');
      await answer(store.last, { ...AWAY, permanent: true });
      await answer(store.last, { ...AWAY, permanent: true });
      expect([first.end, second.end]).toEqual(['LOCK_UNAVAILABLE', 'LOCK_UNAVAILABLE']);
    });
  });

  it('is in order though a listener of events ends callers in the middle of it', async () => {
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
