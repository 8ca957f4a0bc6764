import type { CommitRequest } from './commit-request.js';

type Kind = CommitRequest['kind'];

/** The most requests in a group. */
const MOST_GROUP_REQUESTS = 256;
/**
 * How many of these requests are reserved for new locks that wait, so that a backlog of renewals
 * cannot starve the new locks.
 */
const RESERVED_FOR_NEW = 64;
/**
 * The most keys of one kind (renewals or new locks) in a group. The server needs about 40 ms for so
 * many, and more keys would delay the next group for too long.
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
   * Takes the requests of the next group. Renewals come first, so that a backlog of callers cannot
   * starve the renewals.
   */
  takeGroup(takesNew: boolean): CommitRequest[] {
    const group: CommitRequest[] = [];
    this.takeInto(group, 'renew', takesNew ? MOST_GROUP_REQUESTS - RESERVED_FOR_NEW : MOST_GROUP_REQUESTS);
    if (takesNew) this.takeInto(group, 'acquire', MOST_GROUP_REQUESTS);
    return group;
  }

  /**
   * Moves requests of this kind to `group`: up to `most` requests in the group, and up to
   * `MOST_GROUP_KEYS` keys of this kind.
   */
  private takeInto(group: CommitRequest[], kind: Kind, most: number): void {
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
