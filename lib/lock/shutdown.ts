import type { Subscription } from 'rxjs';
import type { LockStore } from '../store/lock-store.js';
import type { Acquisitions } from './acquisitions.js';
import type { Elections } from './elections.js';
import type { HeldLocks } from './held-locks.js';
import type { Listeners } from './listeners.js';
import type { LockContext } from './lock-context.js';

/** What ends with a service. */
interface Ending {
  readonly store: LockStore;
  readonly elections: Elections;
  readonly acquisitions: Acquisitions;
  readonly locks: HeldLocks;
  readonly context: LockContext;
  readonly listeners: Listeners;
  /** To the changes of the store. */
  readonly listening: Subscription;
}

/** How a service ends: first without new locks, then for good. Each step happens once. */
export class Shutdown {
  private draining: Promise<void> | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly ending: Ending,
    /** ms */
    private readonly timeout: number,
  ) {}

  /** Resolves when no lock is held any more, or after the timeout. */
  drain(): Promise<void> {
    return (this.draining ??= this.rejectAndWait());
  }

  close(): Promise<void> {
    return (this.closing ??= this.end());
  }

  private rejectAndWait(): Promise<void> {
    const { elections, acquisitions, locks } = this.ending;
    elections.resignAll();
    acquisitions.drain();
    return locks.allReleased(this.timeout);
  }

  private async end(): Promise<void> {
    const { store, acquisitions, locks, context, listeners, listening } = this.ending;
    acquisitions.close();
    await locks.loseAll('the application shut down before its work had ended');
    acquisitions.stopRenewing();
    locks.close();
    await store.close();
    context.close();
    listening.unsubscribe();
    listeners.complete();
  }
}
