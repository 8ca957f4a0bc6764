import type { CommitRequest } from './commit-request.js';

type Kind = CommitRequest['kind'];

/**
 * The most keys of renewals, and of new locks, in one group: many keys must not delay the next
 * group for long.
 */
const MOST_GROUP_KEYS = 4_096;

/**
 * The requests that wait to be sent: renewals and new locks apart. Skips requests that have ended
 * meanwhile.
 */
export class CommitQueue {
  private queues: Record<Kind, CommitRequest[]> = { renew: [], acquire: [] };

  /** May still count requests that have ended meanwhile. */
  get size(): number {
    return this.queues.renew.length + this.queues.acquire.length;
  }

  get isEmpty(): boolean {
    return this.size === 0;
  }

  /** The renewal that is sent next. */
  get nextRenewal(): CommitRequest | undefined {
    return this.queues.renew[0];
  }

  has(kind: Kind): boolean {
    return this.queues[kind].length > 0;
  }

  add(request: CommitRequest): void {
    this.queues[request.kind].push(request);
  }

  /** Puts the requests before all that wait. */
  addFirst(requests: readonly CommitRequest[]): void {
    for (const kind of ['renew', 'acquire'] as const) {
      const first = requests.filter((request) => request.kind === kind);
      this.queues[kind] = first.concat(this.queues[kind]);
    }
  }

  /**
   * Moves requests of this kind to `group`: up to `most` requests in the group, and up to so many
   * keys that the server needs about 40 ms.
   */
  takeInto(group: CommitRequest[], kind: Kind, most: number): void {
    const queue = this.queues[kind];
    let taken = 0;
    let keys = 0;
    while (taken < queue.length && group.length < most && keys < MOST_GROUP_KEYS) {
      const request = queue[taken++]!;
      if (request.stage !== 'queued') continue;
      group.push(request);
      keys += request.keys.length;
    }
    queue.splice(0, taken);
  }

  /** Drops the requests that have ended while nothing could be sent. */
  forgetEnded(): void {
    for (const kind of ['renew', 'acquire'] as const) {
      this.queues[kind] = this.queues[kind].filter((request) => request.stage === 'queued');
    }
  }

  clear(): void {
    this.queues = { renew: [], acquire: [] };
  }
}
