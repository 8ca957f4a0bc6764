import type { Demand } from './demand.js';
import type { Grant } from './held-lock.js';
import type { Question } from './questions.js';
import type { SharedOutcome, WaitQueue } from './wait-queue.js';
import type { WaitQueues } from './wait-queues.js';
import type { Waiter } from './waiter.js';

const NONE: readonly WaitQueue[] = [];

/**
 * The queues of the keys that one caller asks for. The caller stands in at most one queue: callers
 * that stood in several queues could wait for each other.
 */
export class KeyQueues {
  /** The queues of the sorted keys, from `open` to `close`. */
  private queues = NONE;
  /** The queue in which the caller stands or stays on. */
  current: WaitQueue | undefined = undefined;
  private isTimedOut = false;

  constructor(private readonly caller: Waiter & Demand) {}

  /** Opens the queues of the caller's keys, until `close`. */
  open(waitQueues: WaitQueues): void {
    this.queues = this.caller.sorted.map((key) => waitQueues.open(key));
  }

  close(): void {
    for (const queue of this.queues) queue.close();
  }

  of(key: string): WaitQueue {
    return this.queues[this.caller.sorted.indexOf(key)]!;
  }

  /**
   * The queue to join before the first attempt; undefined if no caller waits for any of the keys.
   */
  get entry(): WaitQueue | undefined {
    return this.queues.length === 1 ? this.queues[0] : this.queues.find(({ hasWaiters }) => hasWaiters);
  }

  /** True if no other caller stands before this one. */
  join(queue: WaitQueue): boolean {
    this.current = queue;
    return queue.join(this.caller);
  }

  /** The time is up: the caller leaves the queue, and hears the next answer in `queue`. */
  stayOn(queue: WaitQueue): void {
    this.leave();
    this.current = queue;
    this.isTimedOut = true;
    queue.stayOn(this.caller);
  }

  /** The caller has heard an answer, and from now on asks beside the queue. */
  endStay(): void {
    this.current = undefined;
    this.isTimedOut = false;
  }

  /** Leaves the queue in which the caller stands or stays on. */
  leave(): void {
    if (this.isTimedOut) this.current?.giveUp(this.caller);
    else this.current?.leave(this.caller);
  }

  /** Opens one question for each of the sorted keys. */
  ask(owner: string): readonly Question[] {
    return this.queues.map((queue) => queue.ask(owner));
  }

  /** The questions were answered or given up. */
  closeQuestions(questions: readonly Question[], isTakenBack: boolean): void {
    this.queues.forEach((queue, index) => queue.questions.close(questions[index]!, isTakenBack));
    this.current?.endTurn(this.caller);
  }

  /**
   * Passes the store's answer on to the other callers that wait for the key. An answer about
   * several keys together says nothing about a single one of them.
   */
  share(outcome: SharedOutcome['outcome']): void {
    const own = this.current ?? (this.queues.length === 1 ? this.queues[0] : undefined);
    // The holder of another key says nothing about this one.
    const isOfOther = outcome.kind === 'busy' && outcome.key !== own?.key;
    if (own !== undefined && !isOfOther) own.hear(this.caller, outcome);
    else this.notifyTimedOut();
  }

  /** Tells the other callers that the caller holds the keys now. */
  shareGrant({ token }: Grant, owner: string, limit: number, remainingTime: number): void {
    if (limit > 1) this.current?.granted();
    for (const queue of this.queues) {
      if (!queue.isShared) continue;
      const holder = { owner, token, remainingTime, inCooldown: false, limit };
      const shared = limit === 1 ? undefined : { holders: 1, isMarked: false };
      queue.hear(this.caller, { kind: 'busy', key: queue.key, holder, shared });
    }
  }

  notifyTimedOut(): void {
    for (const queue of this.queues) queue.notifyTimedOut();
  }
}
