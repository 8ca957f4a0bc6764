import { interval, share, type Observable, type Subscription } from 'rxjs';
import type { Clock } from '../common/clock.js';
import { ClockScheduler } from '../common/clock-scheduler.js';
import { RENEWALS_PER_LEASE } from '../store/validity.js';

/** An object that is renewed once in each period. */
export interface Renewable {
  renew(): void;
}

/**
 * ms between two places of a wheel, within the limits below. The locks of one place are renewed
 * together.
 */
const WHEEL_STEP_TIME = 25;
/** The fewest places of a wheel. The places of a period under 400 ms are closer than 25 ms. */
const FEWEST_PLACES = 16;
/**
 * The most places of a wheel. The places of a period over 2.5 s are more than 25 ms apart: to wake
 * an idle process costs more than to look into a place.
 */
const MOST_PLACES = 100;
/**
 * On a busy event loop locks are renewed one call of the timer early rather than one call late, but
 * at most this share of the period early.
 */
const LOOK_AHEAD = 0.25;
/**
 * Locks that are granted in one burst are spread over this share of the first period. Steps of the
 * golden ratio spread any number of locks evenly.
 */
const SPREAD = 0.5;
const GOLDEN_RATIO = 0.618_034;

/**
 * ms between two renewals: the lease divided by `RENEWALS_PER_LEASE`, rounded down by at most 5% to
 * one of 70 steps in each power of ten. An application may compute each lease from another
 * deadline. Without rounding, each such lease would have a wheel of its own.
 */
export function renewalPeriodOf(leaseTime: number): number {
  const exact = leaseTime / RENEWALS_PER_LEASE;
  const decade = 10 ** Math.floor(Math.log10(exact));
  const step = decade / (exact < 2 * decade ? 20 : exact < 5 * decade ? 10 : 4);
  return Math.floor(exact / step) * step;
}

/**
 * True if half of the period is over. On a busy event loop the wheel's next step may then come too
 * late for the renewal. `passed`: ms since the last renewal, or since the request for the lock.
 */
export function isPastHalfPeriod(passed: number, leaseTime: number): boolean {
  return 2 * passed >= renewalPeriodOf(leaseTime);
}

/**
 * Renews held locks. One RxJS interval drives many of them: 100,000 locks do not need 100,000
 * timers. Locks with the same period share a wheel. A lock stands in one place of the wheel and is
 * renewed when the wheel passes that place.
 */
export class Renewals {
  private readonly wheels = new Map<number, Wheel>();
  private readonly scheduler: ClockScheduler;
  private readonly intervals = new Map<number, Observable<number>>();

  constructor(private readonly clock: Clock) {
    this.scheduler = new ClockScheduler(clock);
  }

  /**
   * Calls `renew` once in each period: see `renewalPeriodOf`. `passed`: ms of the first period that
   * are over. If there are many locks, the first period ends up to half a period earlier.
   */
  start(lock: Renewable, leaseTime: number, passed: number): WheelPlace {
    const period = renewalPeriodOf(leaseTime);
    let wheel = this.wheels.get(period);
    if (wheel === undefined) {
      wheel = new Wheel(
        period,
        this.clock,
        (stepTime) => this.stepsOf(stepTime),
        () => this.wheels.delete(period),
      );
      this.wheels.set(period, wheel);
    }
    return wheel.add(lock, passed);
  }

  /** Wheels that step about as often share one interval. None of them misses a step. */
  private stepsOf(stepTime: number): Observable<number> {
    const time = WHEEL_STEP_TIME * 2 ** Math.floor(Math.log2(stepTime / WHEEL_STEP_TIME));
    let steps = this.intervals.get(time);
    if (steps === undefined) {
      steps = interval(time, this.scheduler).pipe(share());
      this.intervals.set(time, steps);
    }
    return steps;
  }

  close(): void {
    for (const wheel of this.wheels.values()) wheel.stop();
    this.wheels.clear();
  }
}

/**
 * Goes round once in a period, in steps from place to place. The wheel advances by the time that
 * has passed, not by the calls of the timer: an event loop that takes 80 ms a turn calls a timer of
 * 25 ms every 80 ms. Every place in between is due then, and so is every place that would be late
 * with the next call.
 */
class Wheel {
  /** The places that have locks, by their index. */
  private readonly places = new Map<number, WheelPlace>();
  private readonly placeCount: number;
  private readonly stepTime: number;
  private readonly timer: Subscription;
  private readonly startedAt: number;
  /** The number of steps that the wheel has made. */
  private steps = 0;
  /** The number of steps that were due at the last call of the timer. */
  private stepsAtLastCall = 0;
  private added = 0;

  constructor(
    period: number,
    private readonly clock: Clock,
    stepsOf: (stepTime: number) => Observable<number>,
    private readonly onEmpty: () => void,
  ) {
    this.placeCount = Math.min(MOST_PLACES, Math.max(FEWEST_PLACES, Math.ceil(period / WHEEL_STEP_TIME)));
    this.stepTime = period / this.placeCount;
    this.startedAt = clock.monotonic();
    this.timer = stepsOf(this.stepTime).subscribe(() => this.onTimer());
  }

  add(lock: Renewable, passed: number): WheelPlace {
    const spread = Math.floor(((this.added++ * GOLDEN_RATIO) % 1) * SPREAD * this.placeCount);
    const earlier = Math.max(spread, Math.ceil(passed / this.stepTime));
    const dueStep = Math.floor(this.stepsDue) + this.placeCount - earlier;
    // Within one round from the last step: a wheel that is behind the clock passes each place only
    // once when it catches up.
    const step = Math.min(this.steps + this.placeCount, Math.max(this.steps + 1, dueStep));
    const index = step % this.placeCount;
    let place = this.places.get(index);
    if (place === undefined) {
      place = new WheelPlace(() => this.places.delete(index));
      this.places.set(index, place);
    }
    place.locks.add(lock);
    return place;
  }

  stop(): void {
    this.timer.unsubscribe();
  }

  /** The number of steps that the wheel would have made if no timer came late. */
  private get stepsDue(): number {
    return (this.clock.monotonic() - this.startedAt) / this.stepTime;
  }

  private onTimer(): void {
    // An empty wheel ends at the next call and not with its last lock: locks come and go much more
    // often than calls.
    if (this.places.size === 0) {
      this.stop();
      this.onEmpty();
      return;
    }
    const { stepsDue } = this;
    const late = Math.max(0, stepsDue - this.stepsAtLastCall - 1);
    this.stepsAtLastCall = stepsDue;
    this.advanceTo(stepsDue + Math.min(late, LOOK_AHEAD * this.placeCount));
  }

  /**
   * Each place is due once, no matter how many rounds have passed, and the place that is due longest
   * comes first. After the event loop was blocked, all overdue locks are renewed at once.
   * That costs the same share of the time as always. In slices, an event loop that is always slow
   * would be late with every slice.
   */
  private advanceTo(step: number): void {
    // Rounded, because a timer may call a little early.
    const target = Math.round(step);
    const last = Math.min(target, this.steps + this.placeCount);
    while (this.steps < last) {
      this.steps++;
      for (const lock of this.places.get(this.steps % this.placeCount)?.locks ?? []) lock.renew();
    }
    this.steps = Math.max(this.steps, target);
  }
}

/** One place of a wheel, and the locks that stand there. */
export class WheelPlace {
  readonly locks = new Set<Renewable>();

  constructor(private readonly onEmpty: () => void) {}

  /** Ends the renewal of the lock. */
  delete(lock: Renewable): void {
    if (this.locks.delete(lock) && this.locks.size === 0) this.onEmpty();
  }
}
