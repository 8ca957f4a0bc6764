import { durationOf, type Duration } from '../lock/options.js';
import { systemClock, type Clock } from '../common/clock.js';

interface Timer {
  readonly at: number;
  readonly run: () => void;
  stop: () => void;
}

// As it is before a test framework puts timers of its own in its place.
const { setImmediate } = globalThis;

/** A clock that goes as all clocks do, and that a test can advance. */
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
   * Goes on by `duration` at once (ms, or a string such as `'20s'`): leases end, locks are renewed and waiting ends in the order in which they would. Resolves when all
   * that has happened.
   */
  async advance(duration: Duration): Promise<void> {
    const end = this.monotonic() + durationOf('duration', duration, { min: 0 });
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

/** All that promises have to do by themselves has been done. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
