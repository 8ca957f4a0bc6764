import type { Clock } from './clock.js';

/** An object with a deadline. */
export interface Timed {
  onDue(): void;
}

/** One deadline of one `Timed`. */
export interface Deadline {
  /**
   * The monotonic instant, rounded up to a whole ms like the timer: a number with a fraction or
   * Infinity takes 16 bytes more. 0 without a deadline.
   */
  readonly dueAt: number;
}

interface Entry extends Deadline {
  dueAt: number;
  readonly timed: Timed;
  /** The index in the heap; -1 if the entry is not in the heap. */
  index: number;
}

/**
 * One timer for any number of deadlines. Nearly all deadlines are stopped long before they are due,
 * tens of thousands a second. A timer for each would cost more than the work that it guards.
 * Deadlines therefore stand in a binary heap. The timer is set for the earliest deadline, or for an
 * earlier deadline that was stopped meanwhile. Without deadlines there is no timer.
 */
export class Deadlines {
  private readonly heap: Entry[] = [];
  private timerAt = Infinity;
  private cancelTimer: () => void = () => {};

  constructor(private readonly clock: Clock) {}

  /**
   * Calls `timed.onDue` at the monotonic instant `dueAt`, or as soon as the event loop runs after
   * that. Never calls for Infinity.
   */
  add(dueAt: number, timed: Timed): Deadline {
    const entry: Entry = { dueAt: 0, timed, index: -1 };
    this.insert(entry, dueAt);
    return entry;
  }

  move(deadline: Deadline, dueAt: number): void {
    this.stop(deadline);
    this.insert(deadline as Entry, dueAt);
  }

  stop(deadline: Deadline): void {
    const { index } = deadline as Entry;
    if (index < 0) return;
    (deadline as Entry).index = -1;
    const last = this.heap.pop()!;
    if (last !== deadline) this.sift(last, index);
    if (this.heap.length > 0) return;
    this.cancelTimer();
    this.timerAt = Infinity;
  }

  private insert(entry: Entry, dueAt: number): void {
    if (dueAt === Infinity) return;
    entry.dueAt = Math.ceil(dueAt);
    this.heap.push(entry);
    this.sift(entry, this.heap.length - 1);
    this.wakeBy(entry.dueAt);
  }

  /** Finds the entry's place, beginning at one that is free. */
  private sift(entry: Entry, free: number): void {
    const { heap } = this;
    let index = free;
    for (
      let above = (index - 1) >> 1;
      index > 0 && heap[above]!.dueAt > entry.dueAt;
      above = (index - 1) >> 1
    ) {
      this.put(heap[above]!, index);
      index = above;
    }
    for (;;) {
      let below = 2 * index + 1;
      if (below + 1 < heap.length && heap[below + 1]!.dueAt < heap[below]!.dueAt) below++;
      if (below >= heap.length || heap[below]!.dueAt >= entry.dueAt) break;
      this.put(heap[below]!, index);
      index = below;
    }
    this.put(entry, index);
  }

  private put(entry: Entry, index: number): void {
    this.heap[index] = entry;
    entry.index = index;
  }

  private wakeBy(instant: number): void {
    if (instant >= this.timerAt) return;
    this.cancelTimer();
    this.timerAt = instant;
    this.cancelTimer = this.clock.after(Math.max(0, Math.ceil(instant - this.clock.monotonic())), () =>
      this.fireDue(),
    );
  }

  private fireDue(): void {
    this.timerAt = Infinity;
    const now = this.clock.monotonic();
    for (let first = this.heap[0]; first !== undefined && first.dueAt <= now; first = this.heap[0]) {
      this.stop(first);
      first.timed.onDue();
    }
    if (this.heap[0] !== undefined) this.wakeBy(this.heap[0].dueAt);
  }
}
