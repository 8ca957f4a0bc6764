import type { Clock } from '../common/clock.js';
import type { Deadline, Deadlines, Timed } from '../common/deadlines.js';
import { confirmTimeOf, type Busy, type Unavailable, type Unconfirmed } from '../store/lock-store.js';
import { needsAtLeast, type Demand } from './demand.js';
import { LinkedList } from '../common/linked-list.js';
import { Questions, type Question } from './questions.js';
import { Trouble } from './trouble.js';
import type { Waiter } from './waiter.js';

/** ms beyond the time for confirmations after which an answer is late. */
const ANSWER_ALLOWANCE = 100;
/** The time for confirmations counts up to this many ms. */
const LONGEST_PATIENCE = 2_000;

/** The most waiters of a key that ask at once: a group takes no more. */
const MOST_AT_ONCE = 256;

/** The last answer of the store to a caller that asked for the key. */
export interface SharedOutcome {
  readonly outcome: Busy | Unconfirmed | Unavailable;
  readonly asker: Demand;
  /** The monotonic instant. */
  readonly at: number;
}

/** What all queues of a process use. */
export interface WaitQueueHost {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  /** The last caller has closed the queue. */
  onClosed(queue: WaitQueue): void;
}

/**
 * The waiters for one key in this process, first come, first served: only the first asks the store.
 * If waiters with a limit above 1 are granted the key, more of them ask at once.
 * The store's answer to one waiter holds for all: a waiter that never asked ends with that answer.
 * In trouble the turn passes to waiters that need less than the first.
 */
export class WaitQueue implements Timed {
  /** Changes of the key since the queue was opened. */
  changes = 0;
  lastAnswer: SharedOutcome | undefined = undefined;
  readonly questions = new Questions();
  private readonly waiters = new LinkedList<Waiter>();
  /** Callers whose time is up, and that only wait for the answer to an open question. */
  private timedOut: Set<Waiter> | undefined = undefined;
  /** The number of callers that ask for the key, in the queue or beside it. */
  private callers = 0;
  /** The waiter that asked last, as long as its question is open and not late. */
  private turn: Waiter | undefined = undefined;
  private lateness: Deadline | undefined = undefined;
  /** A waiter may need less than another waiter before it. */
  private isMixed = false;
  private trouble: Trouble | undefined = undefined;
  /**
   * How many waiters with a limit above 1 may ask at once. Each grant adds one, so the number doubles
   * with each round of grants. A refusal begins again with one.
   */
  private width = 1;

  constructor(
    readonly key: string,
    private readonly host: WaitQueueHost,
  ) {}

  get hasWaiters(): boolean {
    return this.waiters.first !== undefined;
  }

  /** True if more than one caller waits for answers about the key. */
  get isShared(): boolean {
    return this.waiters.first !== this.waiters.last || this.hasTimedOut;
  }

  private get hasTimedOut(): boolean {
    return this.timedOut !== undefined && this.timedOut.size > 0;
  }

  isFirst(waiter: Waiter): boolean {
    return this.waiters.first === waiter;
  }

  /** Opens the queue for one more caller, until the caller's `close`. */
  open(): void {
    this.callers++;
  }

  close(): void {
    if (--this.callers === 0) this.host.onClosed(this);
  }

  // --- coming and going

  /**
   * Adds the waiter. True if the waiter is the first. Any other waiter may get its turn at once.
   */
  join(waiter: Waiter): boolean {
    const { last } = this.waiters;
    this.waiters.append(waiter);
    if (last === undefined) return true;
    if (!this.isMixed && !needsAtLeast(waiter, last)) {
      this.isMixed = true;
      this.expectAnswer();
    }
    this.handOn();
    return false;
  }

  /**
   * Removes the waiter. The next waiter's turn begins if this one was the first or had the turn.
   */
  leave(waiter: Waiter): void {
    if (this.isFirst(waiter)) this.trouble = undefined;
    else this.trouble?.forget(waiter);
    this.waiters.remove(waiter);
    this.endTurn(waiter);
    if (!this.hasWaiters) this.isMixed = false;
    this.handOn();
  }

  /** A waiter whose time is up has left the queue, and hears the next answer. */
  stayOn(waiter: Waiter): void {
    this.timedOut ??= new Set();
    this.timedOut.add(waiter);
  }

  /** A waiter whose time is up does not wait for an answer any more. */
  giveUp(waiter: Waiter): void {
    this.timedOut?.delete(waiter);
  }

  // --- turns

  /** A caller asks for the key, in the queue or beside it. */
  ask(owner: string): Question {
    return this.questions.add(owner, this.changes, this.host.clock.monotonic());
  }

  /** The waiter has asked. */
  takeTurn(waiter: Waiter): void {
    this.turn = waiter;
    this.expectAnswer();
  }

  /** The waiter's question was answered or given up. */
  endTurn(waiter: Waiter): void {
    if (this.turn !== waiter) return;
    this.turn = undefined;
    if (this.lateness !== undefined) this.host.deadlines.stop(this.lateness);
  }

  /**
   * Lets one waiter ask. After a failure (`hasFailed`): a waiter that needs less, if there is one,
   * since that waiter may be granted. Otherwise: the first.
   */
  handOn(hasFailed = false): void {
    const { first } = this.waiters;
    if (this.turn !== undefined || first === undefined) return;
    const other = this.isMixed && (hasFailed || !first.isReady) ? this.trouble?.next(first) : undefined;
    const next = other ?? first;
    if (!next.isReady) return;
    next.onTurn();
    if (this.width > 1 && next === first && this.trouble === undefined) this.letOthersAsk(first);
  }

  /** Waiters behind the first ask at the same time, unless a mutex stands before them. */
  private letOthersAsk(first: Waiter): void {
    let left = this.width;
    for (let waiter: Waiter | undefined = first; waiter !== undefined; waiter = waiter.behind) {
      if (waiter.options.limit === 1 || left-- === 0) return;
      if (waiter.isReady) waiter.onTurn();
    }
  }

  /** A waiter with a limit above 1 was granted the key: there may be room for others. */
  granted(): void {
    this.width = Math.min(MOST_AT_ONCE, this.width + 1);
  }

  /** The question of the waiter that has the turn is late. */
  onDue(): void {
    const { turn } = this;
    if (turn === undefined) return;
    this.fail(turn);
    this.turn = undefined;
    this.handOn(true);
  }

  /**
   * Sets the time after which a turn without an answer passes on. Needed only if a later waiter
   * needs less.
   */
  private expectAnswer(): void {
    if (!this.isMixed || this.turn === undefined) return;
    const patience = Math.min(confirmTimeOf(this.turn.options), LONGEST_PATIENCE) + ANSWER_ALLOWANCE;
    const dueAt = this.host.clock.monotonic() + patience;
    if (this.lateness === undefined) this.lateness = this.host.deadlines.add(dueAt, this);
    else this.host.deadlines.move(this.lateness, dueAt);
  }

  // --- answers

  /** A caller that asked for the key, in the queue or beside it, was answered. */
  hear(asker: Demand, outcome: SharedOutcome['outcome']): void {
    this.questions.hear();
    if (!this.hasWaiters && !this.hasTimedOut) return;
    this.lastAnswer = { outcome, asker, at: this.host.clock.monotonic() };
    if (outcome.kind === 'busy') this.trouble?.heardBusy();
    if (outcome.kind === 'busy' && outcome.holder.keepsResult === true) this.tellKept();
    this.notifyTimedOut();
  }

  /** From the last to the first, so that no waiter gets its turn only to end. */
  private tellKept(): void {
    for (let waiter = this.waiters.last; waiter !== undefined;) {
      const { ahead } = waiter;
      waiter.onKept();
      waiter = ahead;
    }
    for (const waiter of this.timedOut ?? []) waiter.onKept();
  }

  /** Tells the callers whose time is up that an answer came, or that a question was given up. */
  notifyTimedOut(): void {
    const { timedOut } = this;
    if (timedOut === undefined) return;
    // Some may stay on for another answer.
    this.timedOut = undefined;
    for (const waiter of timedOut) waiter.onAnswer();
  }

  /** The waiter's question failed. */
  fail(waiter: Waiter): void {
    this.width = 1;
    const isFirst = this.isFirst(waiter);
    if (this.trouble !== undefined) this.trouble.fail(waiter, isFirst);
    else if (isFirst) this.trouble = new Trouble(waiter);
  }

  /** The waiter found the key busy, by a holder or an attempt. */
  foundBusy(waiter: Waiter): void {
    this.width = 1;
    if (!this.isFirst(waiter)) this.trouble?.foundBusy(waiter);
  }

  changed(): void {
    this.changes++;
    if (this.trouble?.changed() === true) this.handOn(true);
    this.waiters.first?.onChange();
    this.handOn();
  }
}
