import type { Clock } from '../common/clock.js';
import type { Deadlines } from '../common/deadlines.js';
import { concerns, type KeyChange } from '../store/lock-store.js';
import { WaitQueue, type WaitQueueHost } from './wait-queue.js';

/**
 * One queue of waiters per key of this process. A queue exists only while a caller asks for its
 * key.
 */
export class WaitQueues {
  private readonly queues = new Map<string, WaitQueue>();
  private readonly host: WaitQueueHost;

  constructor(clock: Clock, deadlines: Deadlines) {
    this.host = { clock, deadlines, onClosed: (queue) => this.queues.delete(queue.key) };
  }

  /** The key's queue, open for one more caller: changes are counted until the caller's `close`. */
  open(key: string): WaitQueue {
    let queue = this.queues.get(key);
    if (queue === undefined) {
      queue = new WaitQueue(key, this.host);
      this.queues.set(key, queue);
    }
    queue.open();
    return queue;
  }

  /** Passes on what the store heard. */
  changed(change: KeyChange): void {
    if ('key' in change) this.queues.get(change.key)?.changed();
    else for (const [key, queue] of this.queues) if (concerns(change, key)) queue.changed();
  }
}
