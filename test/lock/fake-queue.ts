import type { Lock } from '../../lib/lock/lock.js';
import type { AcquireOptions } from '../../lib/lock/options.js';
import type { Unavailable, Unconfirmed } from '../../lib/store/lock-store.js';
import { lockDefaults } from '../support/lock-defaults.js';
import { settled } from '../support/manual-clock.js';
import { fakeService, type FakeService } from './fake-service.js';
import type { Asked } from './fake-store.js';

export const AWAY: Unavailable = { kind: 'unavailable', reason: 'Redis is away.' };
export const LACKING: Unconfirmed = { kind: 'unconfirmed', confirmed: 1, required: 2, replicas: [] };

/** The end of a caller: `held` or the code of the error, and the instant. */
export interface Caller {
  end: string | undefined;
  endedAt: number | undefined;
  error: unknown;
  lock: Lock | undefined;
}

/** Callers of one service in the queue for a key. The test gives the store's answers. */
export interface FakeQueue extends FakeService {
  callAs(key: string | string[], options?: AcquireOptions): Promise<Caller>;
  answer(asked: Asked, outcome: Parameters<Asked['answer']>[0]): Promise<void>;
  /** The option `replicas` of each question. */
  policies(): unknown[];
  /** The keys of each question. */
  keysAsked(): string[];
  /** Answers that the attempt of another caller made the key busy. */
  busyBy(asked: Asked, other: Asked, key?: string): Promise<void>;
  change(key?: string): Promise<void>;
}

export function fakeQueue(): FakeQueue {
  const service = fakeService(lockDefaults({ leaseTime: 9_000, renew: false, quarantine: 9_000 }));
  const { clock, store, locks } = service;

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
  const busyBy = async (asked: Asked, other: Asked, key = asked.request.keys[0]!): Promise<void> => {
    const holder = {
      owner: other.request.owner,
      token: 5,
      remainingTime: 9_000,
      inCooldown: false,
      limit: 1,
    };
    await answer(asked, { kind: 'busy', key, holder });
  };
  const change = async (key = 'k'): Promise<void> => {
    store.changes.next({ key });
    await settled();
  };
  return { ...service, callAs, answer, policies, keysAsked, busyBy, change };
}
