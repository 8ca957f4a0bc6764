import { duration as durationKind, readOption } from '../lock/option-kinds.js';
import type { Duration } from '../lock/options.js';
import { systemClock, type Clock } from '../common/clock.js';

interface Timer {
  readonly at: number;
  readonly run: () => void;
  stop: () => void;
}

// The original: a test framework may replace the global timers later.
const { setImmediate } = globalThis;

/** A clock that runs like the system's, and that a test can advance. */
export class TestClock implements Clock {
  private ahead = 0;
  private readonly timers = new Set<Timer>();

  monotonic(): number {
    return systemClock.monotonic() + this.ahead;
  }

  wall(): number {
    return systemClock.wall() + this.ahead;
  }

  after(ms: number, run: () => void): () => void {
    const timer: Timer = { at: this.monotonic() + ms, run, stop: () => {} };
    this.timers.add(timer);
    this.arm(timer);
    return () => this.remove(timer);
  }

  afterTurn(run: () => void): void {
    systemClock.afterTurn(run);
  }

  /**
   * Advances the clock by `duration` at once. Leases end, locks are renewed and waits end in the
   * same order as in real time. Resolves when all of that has happened.
   * @param duration In ms, or a string such as `'20s'`.
   * @throws LockOptionsError if the duration is not one.
   */
  async advance(duration: Duration): Promise<void> {
    const end = this.monotonic() + readOption('duration', durationKind({ min: 0 }), duration);
    for (;;) {
      await settled();
      const next = [...this.timers].reduce<Timer | undefined>(
        (first, each) => (first === undefined || each.at < first.at ? each : first),
        undefined,
      );
      if (next === undefined || next.at > end) break;
      this.skipTo(next.at);
      this.remove(next);
      next.run();
    }
    this.skipTo(end);
    for (const timer of this.timers) {
      timer.stop();
      this.arm(timer);
    }
    await settled();
  }

  private skipTo(instant: number): void {
    this.ahead += Math.max(0, instant - this.monotonic());
  }

  private arm(timer: Timer): void {
    timer.stop = systemClock.after(Math.max(0, timer.at - this.monotonic()), () => {
      this.timers.delete(timer);
      timer.run();
    });
  }

  private remove(timer: Timer): void {
    timer.stop();
    this.timers.delete(timer);
  }
}

/** Resolves when all promises that wait for no timer have settled: 5 turns of the event loop. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
