import type { Clock } from '../common/clock.js';

/** One moment by both clocks. */
export interface Instant {
  readonly monotonic: number;
  readonly wall: number;
}

export function instantOf(clock: Clock): Instant {
  return { monotonic: clock.monotonic(), wall: clock.wall() };
}

/**
 * How long a lease can be relied on, seen from its holder: from the moment *before* the request was sent, for a little
 * less than the lease, because the server's clock may run faster than ours.
 *
 * Both clocks are asked and the one that went further decides: the monotonic clock may stand still while the host sleeps,
 * the wall clock may be stepped back. Either alone would let a holder believe for too long.
 */
export class Validity {
  private constructor(
    private readonly monotonicStart: number,
    private readonly wallStart: number,
    /** Milliseconds of certain validity from the start. */
    readonly duration: number,
  ) {}

  /** Begins now: call it before the request leaves. */
  static ofLease(leaseTime: number, clock: Clock): Validity {
    return Validity.since(instantOf(clock), leaseTime);
  }

  /** Began at `start`, which was taken before the request left. */
  static since(start: Instant, leaseTime: number): Validity {
    return new Validity(start.monotonic, start.wall, leaseTime - clockDrift(leaseTime));
  }

  /** Milliseconds left; 0 once it has ended. */
  remaining(clock: Clock): number {
    return Math.max(0, this.duration - this.passed(clock));
  }

  /** Milliseconds since it has ended; 0 before. */
  overdue(clock: Clock): number {
    return Math.max(0, this.passed(clock) - this.duration);
  }

  private passed(clock: Clock): number {
    return Math.max(clock.monotonic() - this.monotonicStart, clock.wall() - this.wallStart);
  }

  /** The monotonic instant at which it ends, unless the wall clock runs ahead. */
  get endsAt(): number {
    return this.monotonicStart + this.duration;
  }

  /** The monotonic instant at which the request was made. */
  get startedAt(): number {
    return this.monotonicStart;
  }

  /** The wall clock's instant at which the request was made, in milliseconds since 1970. */
  get startedAtWall(): number {
    return this.wallStart;
  }
}

/** What two clocks may differ by in the course of a lease: 1% and the 2 ms of Redis' own expiry (the Redlock page's rule). */
export function clockDrift(leaseTime: number): number {
  return leaseTime * 0.01 + 2;
}
