import type { Clock } from './clock.js';

/** Callers that wait for the next occurrence of an event, each for a limited time. */
export class Waiters {
  private readonly waiting = new Set<(isNotified: boolean) => void>();

  constructor(private readonly clock: Clock) {}

  /** Resolves to true at the next `notify`, or to false after `ms` milliseconds. */
  next(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (isNotified: boolean): void => {
        stopTimer();
        this.waiting.delete(end);
        resolve(isNotified);
      };
      const stopTimer = this.clock.after(ms, () => end(false));
      this.waiting.add(end);
    });
  }

  /** The event has occurred: every caller that waits goes on. */
  notify(): void {
    for (const end of this.waiting) end(true);
  }
}
