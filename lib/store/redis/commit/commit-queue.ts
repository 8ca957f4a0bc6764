import type { CommitRequest } from './commit-request.js';

type Kind = CommitRequest['kind'];

/** Keys of renewals, and of new locks, in one group: locks of many keys must not delay the next group for long. */
const MOST_GROUP_KEYS = 4_096;

/** What waits to be sent, renewals apart from new locks. What has ended meanwhile is passed over. */
export class CommitQueue {
  private queues: Record<Kind, CommitRequest[]> = { renew: [], acquire: [] };

  /** Those that have ended meanwhile may still be counted. */
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

  /** Puts all of them before what waits already. */
  addFirst(requests: readonly CommitRequest[]): void {
    for (const kind of ['renew', 'acquire'] as const) {
      const first = requests.filter((request) => request.kind === kind);
      this.queues[kind] = first.concat(this.queues[kind]);
    }
  }

  /** Moves what can be sent to `group`, until that has `most` requests, or so many keys of this kind that they take the server some 40 ms. */
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

  /** Lets go of what has ended while nothing could be sent. */
  forgetEnded(): void {
    for (const kind of ['renew', 'acquire'] as const) {
      this.queues[kind] = this.queues[kind].filter((request) => request.stage === 'queued');
    }
  }

  clear(): void {
    this.queues = { renew: [], acquire: [] };
  }
}
