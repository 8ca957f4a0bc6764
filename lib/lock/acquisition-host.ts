import type { Clock } from '../common/clock.js';
import type { Deadlines } from '../common/deadlines.js';
import type { LockStore } from '../store/lock-store.js';
import type { AbortSignals } from './abort-signals.js';
import type { Acquisition } from './acquisition.js';
import type { LockEvent } from './events.js';
import type { Grant, HeldLock } from './held-lock.js';
import type { Owners } from './owners.js';
import type { WaitQueues } from './wait-queues.js';

/** What an acquisition needs of the service. */
export interface AcquisitionHost {
  readonly store: LockStore;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly waitQueues: WaitQueues;
  readonly owners: Owners;
  readonly signals: AbortSignals;
  /** True if events have a listener. Without a listener no event of a success is made. */
  isHeard(): boolean;
  emit(event: LockEvent): void;
  /** The lock was granted, and is held from now on. */
  granted(acquisition: Acquisition, owner: string, grant: Grant): HeldLock;
  /** The acquisition has ended, with or without a lock. */
  left(acquisition: Acquisition): void;
}
