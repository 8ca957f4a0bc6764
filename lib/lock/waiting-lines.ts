import { concerns, type KeyChange } from '../store/lock-store.js';

/** Somebody who stands in a line. */
export interface Waiter {
  /** It is its turn now: nobody stands before it. */
  onTurn(): void;
  /** The key was changed, and it is this waiter's turn. */
  onChange(): void;
}

/** The waiters for one key in this process: the first asks the store, the others only wait. */
export class Line {
  /** Changes of the key since the line was opened. */
  changes = 0;
  /** First come, first served. */
  private readonly waiters: Waiter[] = [];
  /** Who counts its changes, in line or not. */
  private watchers = 0;

  constructor(
    readonly key: string,
    private readonly onUnwatched: (line: Line) => void,
  ) {}

  get hasWaiters(): boolean {
    return this.waiters.length > 0;
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
    return this.waiters.push(waiter) === 1;
  }

  /** Steps out; the next one's turn begins if the first left. */
  leave(waiter: Waiter): void {
    if (this.waiters[0] === waiter) {
      this.waiters.shift();
      this.waiters[0]?.onTurn();
      return;
    }
    const place = this.waiters.indexOf(waiter);
    if (place > 0) this.waiters.splice(place, 1);
  }

  changed(): void {
    this.changes++;
    this.waiters[0]?.onChange();
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
