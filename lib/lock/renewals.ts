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

/** Turns of the interval in one period, and ms between two turns within these limits: what stands in one slot is renewed at once. */
const FEWEST_SLOTS = 16;
const MOST_SLOTS = 400;
const TURN_TIME = 25;
/** Locks taken in one burst are spread over this share of their first period, by steps that come evenly however many there are. */
const SPREAD = 0.5;
const GOLDEN_RATIO = 0.618_034;

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

  /** Calls `renew` every `period` ms. `passed`: ms of the first period that are over; it ends up to half a period earlier where there are many. */
  start(lock: Renewable, period: number, passed: number): RenewalSlot {
    let wheel = this.wheels.get(period);
    if (wheel === undefined) {
      wheel = new Wheel(period, this.scheduler, () => this.wheels.delete(period));
      this.wheels.set(period, wheel);
    }
    return wheel.add(lock, passed);
  }

  close(): void {
    for (const wheel of this.wheels.values()) wheel.stop();
    this.wheels.clear();
  }
}

class Wheel {
  /** Only those in which somebody stands. */
  private readonly slots = new Map<number, Slot>();
  private readonly slotCount: number;
  private readonly turnTime: number;
  private readonly turning: Subscription;
  private at = 0;
  private added = 0;

  constructor(
    period: number,
    scheduler: ClockScheduler,
    private readonly onEmpty: () => void,
  ) {
    this.slotCount = Math.min(MOST_SLOTS, Math.max(FEWEST_SLOTS, Math.ceil(period / TURN_TIME)));
    this.turnTime = period / this.slotCount;
    this.turning = interval(this.turnTime, scheduler).subscribe(() => this.turn());
  }

  add(lock: Renewable, passed: number): RenewalSlot {
    const spread = Math.floor(((this.added++ * GOLDEN_RATIO) % 1) * SPREAD * this.slotCount);
    const earlier = Math.min(this.slotCount - 1, Math.max(spread, Math.ceil(passed / this.turnTime)));
    const place = (this.at + this.slotCount - earlier) % this.slotCount;
    let slot = this.slots.get(place);
    if (slot === undefined) {
      slot = new Slot(() => this.slots.delete(place));
      this.slots.set(place, slot);
    }
    slot.locks.add(lock);
    return slot;
  }

  stop(): void {
    this.turning.unsubscribe();
  }

  private turn(): void {
    this.at = (this.at + 1) % this.slotCount;
    // Empty wheels go with a turn and not with their last lock: locks come and go much faster than turns.
    if (this.slots.size === 0) {
      this.stop();
      this.onEmpty();
      return;
    }
    for (const lock of this.slots.get(this.at)?.locks ?? []) lock.renew();
  }
}

class Slot implements RenewalSlot {
  readonly locks = new Set<Renewable>();

  constructor(private readonly onEmpty: () => void) {}

  delete(lock: Renewable): void {
    if (this.locks.delete(lock) && this.locks.size === 0) this.onEmpty();
  }
}
