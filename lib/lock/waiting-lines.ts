import type { Clock } from '../store/clock.js';
import type { Deadlines } from '../store/deadlines.js';
import { concerns, type KeyChange } from '../store/lock-store.js';
import { Line, type LineKeeper } from './line.js';

/** One line of waiters per key of this process. A line is there only while a caller watches it. */
export class WaitingLines {
  private readonly lines = new Map<string, Line>();
  private readonly keeper: LineKeeper;

  constructor(clock: Clock, deadlines: Deadlines) {
    this.keeper = { clock, deadlines, onUnwatched: (line) => this.lines.delete(line.key) };
  }

  /** The key's line, watched by the caller: its changes are counted until `unwatch`. */
  watch(key: string): Line {
    let line = this.lines.get(key);
    if (line === undefined) {
      line = new Line(key, this.keeper);
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
}
