import type { Clock } from './clock.js';

/** One timer for many deadlines: fires at the earliest, and the callback sets the next. */
export class EarliestTimer {
  private at = Infinity;
  private cancel: () => void = () => {};

  constructor(
    private readonly clock: Clock,
    private readonly onDue: () => void,
  ) {}

  /** Fires at this monotonic instant or earlier. */
  noLaterThan(instant: number): void {
    if (instant >= this.at) return;
    this.cancel();
    this.at = instant;
    this.cancel = this.clock.after(Math.max(0, instant - this.clock.monotonic()), () => {
      this.at = Infinity;
      this.onDue();
    });
  }

  stop(): void {
    this.cancel();
    this.at = Infinity;
  }
}
