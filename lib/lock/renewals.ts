import { interval, type Subscription } from 'rxjs';
import type { Clock } from '../store/clock.js';
import { ClockScheduler } from './clock-scheduler.js';

/** What is to be renewed at every turn of the wheel. */
export interface Renewable {
  renew(): void;
}

/** Where a lock stands; `delete` ends its renewing. */
export interface RenewalSlot {
  delete(lock: Renewable): void;
}

/** Turns of the interval in one period: locks taken at different times are renewed at different times, never in one burst. */
const SLOTS = 16;

/**
 * Renews held locks, one RxJS interval for all locks with the same period: 100,000 locks are not 100,000 timers. A lock
 * stands in one slot of a wheel and is renewed when the wheel comes round to it.
 */
export class Renewals {
  private readonly wheels = new Map<number, Wheel>();
  private readonly scheduler: ClockScheduler;

  constructor(clock: Clock) {
    this.scheduler = new ClockScheduler(clock);
  }

  /** Calls `renew` every `period` ms from now on, the first time up to a sixteenth earlier. */
  start(lock: Renewable, period: number): RenewalSlot {
    let wheel = this.wheels.get(period);
    if (wheel === undefined) {
      wheel = new Wheel(period, this.scheduler, () => this.wheels.delete(period));
      this.wheels.set(period, wheel);
    }
    return wheel.add(lock);
  }

  close(): void {
    for (const wheel of this.wheels.values()) wheel.stop();
    this.wheels.clear();
  }
}

class Wheel {
  private readonly slots = Array.from({ length: SLOTS }, () => new Set<Renewable>());
  private readonly turning: Subscription;
  private at = 0;

  constructor(
    period: number,
    scheduler: ClockScheduler,
    private readonly onEmpty: () => void,
  ) {
    this.turning = interval(period / SLOTS, scheduler).subscribe(() => this.turn());
  }

  add(lock: Renewable): RenewalSlot {
    const slot = this.slots[this.at]!;
    slot.add(lock);
    return slot;
  }

  stop(): void {
    this.turning.unsubscribe();
  }

  private turn(): void {
    this.at = (this.at + 1) % SLOTS;
    // Empty wheels go with a turn and not with their last lock: locks come and go much faster than turns.
    if (this.slots.every((slot) => slot.size === 0)) {
      this.stop();
      this.onEmpty();
      return;
    }
    for (const lock of this.slots[this.at]!) lock.renew();
  }
}
