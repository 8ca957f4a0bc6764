import type { Clock } from '../../lib/common/clock.js';

/** A clock that stands until it is told to go on; its two hands can be moved apart. */
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

  /** Goes on by `ms`, runs what is due in its order, and lets promises settle in between. */
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

  /** The host's clock is set forward or back; no timer hears of it. */
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

/** Everything that promises and ticks have to do by themselves has been done. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
