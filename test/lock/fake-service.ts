import { LockService } from '../../lib/lock/lock-service.js';
import type { LockEvent } from '../../lib/lock/events.js';
import type { WithLockOptions } from '../../lib/lock/options.js';
import { lockDefaults } from '../support/lock-defaults.js';
import { ManualClock, settled } from '../support/manual-clock.js';
import { FakeStore } from './fake-store.js';

export const serviceDefaults = lockDefaults({ leaseTime: 9_000, shutdownTimeout: 3_000, quarantine: 0 });

/** A service on a store whose answers the test gives, and on a clock that the test moves. */
export interface FakeService {
  readonly clock: ManualClock;
  readonly store: FakeStore;
  readonly locks: LockService;
  readonly events: LockEvent[];
  /** Takes a lock that the store grants at once. */
  held(key?: string, options?: WithLockOptions): ReturnType<LockService['acquire']>;
}

export function fakeService(defaults = serviceDefaults): FakeService {
  const clock = new ManualClock();
  const store = new FakeStore(clock);
  const locks = new LockService(store, defaults, clock);
  const events: LockEvent[] = [];
  locks.events.subscribe((event) => events.push(event));
  return {
    clock,
    store,
    locks,
    events,
    async held(key = 'k', options = {}) {
      const promise = locks.acquire(key, options);
      await settled();
      store.grant();
      return promise;
    },
  };
}
