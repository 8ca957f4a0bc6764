import { MARK_TIME, type Holder, type SharedKey } from '../store/lock-store.js';
import { renewalPeriodOf } from './renewals.js';

/**
 * ms between two checks of a waiter that the store notifies of changes. The check only covers a
 * notice that was lost.
 */
const LOST_NOTICE_CHECK_TIME = 8_000;
/** ms between two attempts of a waiter that receives no notices. */
const UNTRACKED_POLL_TIME = 250;
/** The shortest sleep in ms, so that a key that is about to expire is not asked for in a loop. */
const SHORTEST_SLEEP = 10;
/** A change within this many ms of the expected renewal counts as the renewal. */
const RENEWAL_TOLERANCE = 50;
/** This share of the period counts instead, if it is longer. */
const TOLERATED_SHARE = 0.04;

/** ms between two attempts of a waiter whose mark keeps out other callers. */
const KEEP_MARK_TIME = MARK_TIME / 3;
/**
 * ms between two attempts that follow changes of a key with several holders, most of which make no
 * room. Doubled each time, until the key has been left alone for `QUIET_TIME` ms.
 */
const SHORTEST_PACE = 0.5;
const LONGEST_PACE = 16;
const QUIET_TIME = 100;

/**
 * `ask`: try to take the key. `check`: ask only whether the holder still holds the key, which costs
 * a fifth of the commands of an attempt.
 */
export interface NextStep {
  readonly kind: 'ask' | 'check';
  /** ms from now. */
  readonly after: number;
}

/**
 * What one waiter knows of a busy key: who holds it, when the holder was last seen to renew, and
 * when the lease ends. Decides whether the waiter asks or checks next, and when. Has no clock:
 * `now` is always a monotonic instant that the caller passes in.
 */
export class BusyKey {
  private owner: string | undefined;
  /** The holder was last seen to renew. */
  private renewedAt: number | undefined;
  /** The lease ends, unless the holder renews. */
  private endsAt = 0;
  /** The most ms that were seen to be left of the holder's lease. */
  private longestTime = 0;
  /** Set if several callers may hold the key. */
  private shared: SharedKey | undefined;
  /** The monotonic instant of the last attempt that found the key busy. */
  private foundAt = -Infinity;
  private pace = 0;

  /** `leaseTime`: what the waiter itself asks for. Most holders of a key use the same lease. */
  constructor(private readonly leaseTime: number) {}

  /**
   * An attempt found the key busy. `wasChanged`: the attempt followed a change of the key. A change
   * that leaves the same holder in place was a renewal, unless the key has several holders.
   */
  found(holder: Holder, wasChanged: boolean, now: number, shared?: SharedKey): void {
    const { owner, remainingTime } = holder;
    const wasQuiet = now - this.foundAt > QUIET_TIME;
    this.pace = wasQuiet ? SHORTEST_PACE : Math.min(LONGEST_PACE, Math.max(SHORTEST_PACE, 2 * this.pace));
    this.foundAt = now;
    this.shared = shared;
    if (owner !== this.owner || shared !== undefined) {
      this.renewedAt = undefined;
      this.longestTime = 0;
    } else if (wasChanged) this.renewedAt = now;
    this.owner = owner;
    this.endsAt = now + remainingTime;
    this.longestTime = Math.max(this.longestTime, remainingTime);
  }

  /**
   * The same holder still holds the key after a change: the change was a renewal. A holder renews
   * for the same lease, so at least as much is left as was ever seen.
   */
  renewed(now: number): void {
    this.renewedAt = now;
    this.endsAt = now + this.longestTime;
  }

  /** The holder may have changed unseen: the next holder that is found counts as new. */
  forgetHolder(): void {
    this.owner = undefined;
    this.renewedAt = undefined;
  }

  /** True if a change of the key at `now` is probably the holder's next renewal. */
  isProbablyRenewal(now: number): boolean {
    if (this.renewedAt === undefined) return false;
    const period = renewalPeriodOf(this.leaseTime);
    const off = Math.abs(now - this.renewedAt - period);
    return off < Math.max(RENEWAL_TOLERANCE, period * TOLERATED_SHARE);
  }

  /** The last attempt found that several callers may hold the key. */
  get isShared(): boolean {
    return this.shared !== undefined;
  }

  /** ms for which the waiter puts off an attempt after a change of the key at `now`. */
  pauseAfterChange(now: number): number {
    return this.shared === undefined ? 0 : Math.max(0, this.foundAt + this.pace - now);
  }

  /**
   * The step that the waiter takes if no change of the key comes first. `random`, from 0 to 1,
   * spreads the waiters of many processes.
   */
  nextStep(now: number, hearsChanges: boolean, random: number): NextStep {
    const spread = 0.75 + random / 2;
    const pause = (hearsChanges ? LOST_NOTICE_CHECK_TIME : UNTRACKED_POLL_TIME) * spread;
    const left = Math.max(SHORTEST_SLEEP, this.endsAt - now + 1);
    if (this.shared !== undefined) {
      const again = this.shared.isMarked ? Math.min(pause, KEEP_MARK_TIME * spread) : pause;
      return { kind: 'ask', after: Math.min(again, left) };
    }
    if (hearsChanges && pause < left) return { kind: 'check', after: pause };
    return { kind: 'ask', after: Math.min(pause, left) };
  }
}
