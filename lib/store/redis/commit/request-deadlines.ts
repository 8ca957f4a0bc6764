import type { Clock } from '../../../common/clock.js';
import { EarliestTimer } from '../../../common/earliest-timer.js';
import type { CommitRequest } from './commit-request.js';

/**
 * ms that an unblocked WAIT, or the check of a late lock, may take beyond the time of a request.
 */
export const VERDICT_TIME = 50;
/**
 * The least ms between two checks of all deadlines, for each open request: 10,000 open requests are
 * checked at most every 100 ms. A check costs time, so some of them end a little late.
 */
const CHECK_COST = 0.01;

/** When requests end without a confirmation. One timer for all of them. */
export class RequestDeadlines {
  private readonly timer: EarliestTimer;
  private checkedAt = -Infinity;
  /** The monotonic instant until which the check of late locks may take. */
  private verifyingUntil = -Infinity;

  constructor(
    private readonly clock: Clock,
    /**
     * Called if a deadline may have passed. Ends the requests whose deadline is not after `now`.
     */
    private readonly check: (now: number) => void,
  ) {
    // A process that was busy reads the answers in its sockets before a request ends without one.
    this.timer = new EarliestTimer(clock, () => clock.afterTurn(() => this.onDue()));
  }

  /** The monotonic instant at which the request ends. */
  of(request: CommitRequest, now: number): number {
    if (request.kind === 'renew') return now + request.heldValidity.remaining(this.clock);
    if (request.abandoned) return Infinity;
    const isPending = request.stage === 'written' || request.stage === 'verifying';
    if (!isPending || request.group === undefined) return request.endsAt;
    const deadline = request.group.start.monotonic + request.confirmTime;
    const verdictBy = request.stage === 'verifying' ? this.verifyingUntil : request.verdictBy;
    return Math.max(deadline, verdictBy ?? -Infinity);
  }

  /** A new request: checks at the end of its `confirmTime` at the latest. */
  added(request: CommitRequest): void {
    this.timer.noLaterThan(this.clock.monotonic() + request.confirmTime);
  }

  /** The keys of late locks are being checked. Their deadlines move behind the answer. */
  verifying(): void {
    this.verifyingUntil = this.clock.monotonic() + VERDICT_TIME;
  }

  /**
   * Checks at the earliest deadline of `requests`. `openCount`: how many requests a check goes
   * through.
   */
  schedule(requests: Iterable<CommitRequest>, openCount: number): void {
    const now = this.clock.monotonic();
    let earliest = Infinity;
    for (const request of requests) earliest = Math.min(earliest, this.of(request, now));
    this.timer.noLaterThan(Math.max(earliest, this.checkedAt + openCount * CHECK_COST));
  }

  stop(): void {
    this.timer.stop();
  }

  private onDue(): void {
    const now = this.clock.monotonic();
    this.checkedAt = now;
    this.check(now);
  }
}
