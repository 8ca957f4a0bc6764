import type { Clock } from '../common/clock.js';

/** A holder renews its lock this many times in the time of one lease. */
export const RENEWALS_PER_LEASE = 3;

/** One moment by both clocks. */
export interface Instant {
  readonly monotonic: number;
  readonly wall: number;
}

export function instantOf(clock: Clock): Instant {
  return { monotonic: clock.monotonic(), wall: clock.wall() };
}

/**
 * How long a holder can rely on a lease. Counts from the moment *before* the request was sent, and
 * a little less than the lease, because the server's clock may run faster than the clock of this
 * process.
 *
 * Two clocks are read, and the clock that went further decides. The monotonic clock may stand still
 * while the host sleeps; the wall clock may be set back. With only one of them a holder could
 * believe for too long.
 */
export class Validity {
  private constructor(
    private readonly monotonicStart: number,
    private readonly wallStart: number,
    /** ms of certain validity from the start. */
    readonly duration: number,
  ) {}

  /** Starts now: call this before the request leaves. */
  static ofLease(leaseTime: number, clock: Clock): Validity {
    return Validity.since(instantOf(clock), leaseTime);
  }

  /** Starts at `start`, which was taken before the request left. */
  static since(start: Instant, leaseTime: number): Validity {
    return new Validity(start.monotonic, start.wall, leaseTime - clockDrift(leaseTime));
  }

  /** ms left; 0 after the end. */
  remaining(clock: Clock): number {
    return Math.max(0, this.duration - this.passed(clock));
  }

  /** ms since the end; 0 before. */
  overdue(clock: Clock): number {
    return Math.max(0, this.passed(clock) - this.duration);
  }

  private passed(clock: Clock): number {
    return Math.max(clock.monotonic() - this.monotonicStart, clock.wall() - this.wallStart);
  }

  /** The monotonic instant of the end, unless the wall clock runs ahead. */
  get endsAt(): number {
    return this.monotonicStart + this.duration;
  }

  /** The monotonic instant at which the request was made. */
  get startedAt(): number {
    return this.monotonicStart;
  }

  /** The instant at which the request was made by the wall clock, in ms since 1970. */
  get startedAtWall(): number {
    return this.wallStart;
  }
}

/**
 * ms by which two clocks may differ in the course of a lease: 1% of the lease, and the 2 ms of
 * Redis' own expiry. The rule is that of the [Redlock
 * page](https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/).
 */
export function clockDrift(leaseTime: number): number {
  return leaseTime * 0.01 + 2;
}
