/** Which copy of the shop wrote the report of which tick, from the log lines of the copies. */
export class Reports {
  /** The number of reports by each copy. */
  readonly by = [0, 0];
  private readonly times = new Map<number, number>();

  onLine(copy: number, line: string): void {
    const [, at] = /the report of (\S+) was written/.exec(line) ?? [];
    if (at === undefined) return;
    const tick = Date.parse(at);
    this.by[copy]! += 1;
    this.times.set(tick, (this.times.get(tick) ?? 0) + 1);
  }

  /** Seconds from the first report to the last, both counted. */
  get ticks(): number {
    return this.times.size === 0 ? 0 : (this.lastTick - Math.min(...this.times.keys())) / 1_000 + 1;
  }

  get written(): number {
    return this.by.reduce((sum, each) => sum + each, 0);
  }

  /** The number of reports for a tick that already had a report. */
  get twice(): number {
    return this.written - this.times.size;
  }

  get lastTick(): number {
    return Math.max(...this.times.keys());
  }
}
