import { concerns, type KeyChange } from '../store/lock-store.js';

/** Somebody who stands in a line, in one at a time. */
export interface Waiter {
  /** Its neighbours in the line, which the line keeps. */
  ahead: Waiter | undefined;
  behind: Waiter | undefined;
  /** It is its turn now: nobody stands before it. */
  onTurn(): void;
  /** The key was changed, and it is this waiter's turn. */
  onChange(): void;
}

/** The waiters for one key in this process: the first asks the store, the others only wait. */
export class Line {
  /** Changes of the key since the line was opened. */
  changes = 0;
  /** First come, first served; linked, for fifty thousand may leave in one instant. */
  private first: Waiter | undefined;
  private last: Waiter | undefined;
  /** Who counts its changes, in line or not. */
  private watchers = 0;

  constructor(
    readonly key: string,
    private readonly onUnwatched: (line: Line) => void,
  ) {}

  get hasWaiters(): boolean {
    return this.first !== undefined;
  }

  /** Keeps the line open until `unwatch`. */
  watch(): void {
    this.watchers++;
  }

  unwatch(): void {
    if (--this.watchers === 0) this.onUnwatched(this);
  }

  /** Steps into the line; true where that makes it the first. */
  join(waiter: Waiter): boolean {
    waiter.ahead = this.last;
    if (this.last === undefined) this.first = waiter;
    else this.last.behind = waiter;
    this.last = waiter;
    return this.first === waiter;
  }

  /** Steps out; the next one's turn begins if the first left. */
  leave(waiter: Waiter): void {
    const { ahead, behind } = waiter;
    if (ahead === undefined && this.first !== waiter) return;
    waiter.ahead = undefined;
    waiter.behind = undefined;
    if (behind === undefined) this.last = ahead;
    else behind.ahead = ahead;
    if (ahead !== undefined) {
      ahead.behind = behind;
      return;
    }
    this.first = behind;
    behind?.onTurn();
  }

  changed(): void {
    this.changes++;
    this.first?.onChange();
  }
}

/** One line of waiters per key of this process. A line is there only while somebody watches it. */
export class WaitingLines {
  private readonly lines = new Map<string, Line>();

  /** The key's line, watched by the caller: its changes are counted until `unwatch`. */
  watch(key: string): Line {
    let line = this.lines.get(key);
    if (line === undefined) {
      line = new Line(key, this.close);
      this.lines.set(key, line);
    }
    line.watch();
    return line;
  }

  /** Passes on what the store heard. */
  changed(change: KeyChange): void {
    if ('key' in change) this.lines.get(change.key)?.changed();
    else for (const [key, line] of this.lines) if (concerns(change, key)) line.changed();
  }

  private readonly close = (line: Line): void => {
    this.lines.delete(line.key);
  };
}
