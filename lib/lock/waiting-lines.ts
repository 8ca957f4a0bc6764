import { concerns, type KeyChange } from '../store/lock-store.js';

/** Somebody who stands in a line. */
export interface Waiter {
  /** It is its turn now: nobody stands before it. */
  onTurn(): void;
  /** The key was changed, and it is this waiter's turn. */
  onChange(): void;
}

interface Line {
  /** First come, first served; the first asks the store, the others only wait. */
  readonly waiters: Waiter[];
  /** Changes of the key since the line was opened. */
  changes: number;
  /** Who counts its changes without standing in it. */
  watchers: number;
}

/** One line of waiters per key of this process. A line is there only while somebody stands in it or watches the key. */
export class WaitingLines {
  private readonly lines = new Map<string, Line>();

  /** Steps into the line; true where that makes it the first. */
  join(key: string, waiter: Waiter): boolean {
    return this.open(key).waiters.push(waiter) === 1;
  }

  /** Steps out; the next one's turn begins if the first left. */
  leave(key: string, waiter: Waiter): void {
    const line = this.lines.get(key);
    const place = line?.waiters.indexOf(waiter) ?? -1;
    if (line === undefined || place < 0) return;
    line.waiters.splice(place, 1);
    if (place === 0) line.waiters[0]?.onTurn();
    this.closeIfEmpty(key, line);
  }

  /** Counts the key's changes from now on, until `unwatch`. */
  watch(key: string): void {
    this.open(key).watchers++;
  }

  unwatch(key: string): void {
    const line = this.lines.get(key);
    if (line === undefined) return;
    line.watchers--;
    this.closeIfEmpty(key, line);
  }

  /** How often the key was changed while it was watched. */
  changesOf(key: string): number {
    return this.lines.get(key)?.changes ?? 0;
  }

  hasLine(key: string): boolean {
    return (this.lines.get(key)?.waiters.length ?? 0) > 0;
  }

  /** Passes on what the store heard. */
  changed(change: KeyChange): void {
    if ('key' in change) this.countChange(this.lines.get(change.key));
    else for (const [key, line] of this.lines) if (concerns(change, key)) this.countChange(line);
  }

  private countChange(line: Line | undefined): void {
    if (line === undefined) return;
    line.changes++;
    line.waiters[0]?.onChange();
  }

  private open(key: string): Line {
    let line = this.lines.get(key);
    if (line === undefined) {
      line = { waiters: [], changes: 0, watchers: 0 };
      this.lines.set(key, line);
    }
    return line;
  }

  private closeIfEmpty(key: string, line: Line): void {
    if (line.waiters.length === 0 && line.watchers === 0) this.lines.delete(key);
  }
}
