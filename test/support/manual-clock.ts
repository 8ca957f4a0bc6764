import type { Clock } from '../../lib/common/clock.js';

/**
 * A clock that only a test advances. The monotonic clock and the wall clock can be moved apart.
 */
export class ManualClock implements Clock {
  #monotonic = 1_000;
  #wall = 1_700_000_000_000;
  #timers: { at: number; run: () => void }[] = [];

  monotonic(): number {
    return this.#monotonic;
  }

  wall(): number {
    return this.#wall;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#monotonic + ms, run };
    if (ms !== Infinity) this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  afterTurn(run: () => void): void {
    this.after(0, run);
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.length;
  }

  /** Advances by `ms`, runs due timers in their order, and lets promises settle in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    for (;;) {
      await settled();
      const next = this.#timers.toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#step(Math.max(0, next.at - this.#monotonic));
      next.run();
    }
    this.#step(end - this.#monotonic);
    await settled();
  }

  /** Sets the host's wall clock forward or back. Timers do not notice. */
  stepWall(ms: number): void {
    this.#wall += ms;
  }

  /** The event loop stood still: time has passed and no timer ran. */
  freeze(ms: number): void {
    this.#step(ms);
  }

  #step(ms: number): void {
    this.#monotonic += ms;
    this.#wall += ms;
  }
}

/** Lets promises and ticks run until nothing is left to do. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
