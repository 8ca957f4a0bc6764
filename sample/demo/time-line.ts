import { type Observable, ReplaySubject } from 'rxjs';
import type { DemoEvent } from './model.js';

/** What happened, with the time since the start. */
export class TimeLine {
  private readonly subject = new ReplaySubject<DemoEvent>();
  private readonly startedAt: number;
  private count = 0;

  /** `clock`: monotonic, in ms. */
  constructor(private readonly clock: () => number = () => performance.now()) {
    this.startedAt = clock();
  }

  /** ms since the start. */
  get now(): number {
    return this.clock() - this.startedAt;
  }

  /** All events from the start on, then those that happen. */
  get events(): Observable<DemoEvent> {
    return this.subject;
  }

  add(kind: DemoEvent['kind'], text: string, tone: DemoEvent['tone'] = 'plain'): void {
    this.subject.next({ id: ++this.count, at: this.now, kind, tone, text });
  }
}

/** Seconds with one decimal: `12.3`. */
export function seconds(ms: number): string {
  return (ms / 1_000).toFixed(1);
}

/**
 * The longest time without a grant, in ms. `grants`: ascending instants. The time before the first
 * grant and after the last one counts from `from` and to `to`.
 */
export function longestGap(grants: readonly number[], from: number, to: number): number {
  const instants = [from, ...grants.filter((at) => at > from && at < to), to];
  return Math.max(...instants.slice(1).map((at, i) => at - instants[i]!));
}
