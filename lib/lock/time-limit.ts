import type { Clock } from '../common/clock.js';
import type { Deadline, Deadlines, Timed } from '../common/deadlines.js';

/**
 * ms beyond `waitTime` and `replicaTimeout` after which an acquisition ends whatever the store
 * does.
 */
const STORE_ALLOWANCE = 1_000;
/** If a deadline fires more than this many ms late, the process was busy. */
const TIMER_DELAY = 100;

/** What an acquisition needs of the service to keep time. */
export interface TimeLimitHost {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
}

/**
 * The time of one acquisition: `waitTime`, and the time after that for answers that are still open.
 */
export class TimeLimit {
  /** The monotonic instant at which the caller asked. */
  readonly askedAt: number;
  private deadline: Deadline | undefined;
  private hadTimeToRead = false;

  constructor(
    private readonly options: { readonly waitTime: number; readonly replicaTimeout: number },
    private readonly host: TimeLimitHost,
  ) {
    this.askedAt = host.clock.monotonic();
  }

  /**
   * Calls `onDue` at the end of `waitTime`, or without a wait at the end of the store's own time.
   */
  start(timed: Timed): void {
    const { waitTime, replicaTimeout } = this.options;
    const patience = waitTime > 0 ? waitTime : replicaTimeout + STORE_ALLOWANCE;
    this.deadline = this.host.deadlines.add(this.askedAt + patience, timed);
  }

  /** ms since the caller asked. */
  get waited(): number {
    return this.host.clock.monotonic() - this.askedAt;
  }

  /** True once `waitTime` is over. */
  get isOver(): boolean {
    return this.waited >= this.options.waitTime;
  }

  /** The instant at which the acquisition ends whatever the store does. */
  get latestEnd(): number {
    const { waitTime, replicaTimeout } = this.options;
    return this.askedAt + waitTime + replicaTimeout + STORE_ALLOWANCE;
  }

  /** Calls `onDue` at this monotonic instant. */
  extendTo(instant: number): void {
    this.host.deadlines.move(this.deadline!, instant);
  }

  /** Grants the answer to an open question more time. False once all of that time is used up. */
  extendForAnswer(): boolean {
    const now = this.host.clock.monotonic();
    const { latestEnd } = this;
    if (now < latestEnd) this.extendTo(latestEnd);
    else if (now > latestEnd + TIMER_DELAY && !this.hadTimeToRead) {
      // The answer may have come while the process was busy. The process gets time once to read the
      // answer.
      this.hadTimeToRead = true;
      this.extendTo(now + STORE_ALLOWANCE);
    } else return false;
    return true;
  }

  stop(): void {
    if (this.deadline !== undefined) this.host.deadlines.stop(this.deadline);
  }
}
