import type { Holder } from '../../lock-store.js';

interface LongLease {
  /** The monotonic instant at which this process first read the lease. */
  readonly metAt: number;
  /** The monotonic instant at which the lease ends without a further renewal. */
  readonly endsAt: number;
}

/** A key in its cooldown, or with a result, is busy without a lease. */
function leaseOf({ inCooldown, keepsResult, remainingTime }: Holder): number {
  return inCooldown || keepsResult === true ? 0 : remainingTime;
}

/** At this number of entries, ended entries are dropped before another is added. */
const MANY = 1_000;

/**
 * Keys that were found busy for longer than the quarantine covers. Another program uses longer
 * leases than this program knows, or an operator changed an expiry. After a loss of data, the
 * holder may still rely on such a lease when the replication links are a quarantine old. So
 * until the lease has ended, a grant of that key needs links that have stood since this process
 * read the lease. No other key is affected.
 */
export class LongLeases {
  private readonly byKey = new Map<string, LongLease>();

  constructor(
    /** The longest time in ms that a lock's key may live: the quarantine and the clock skew. */
    private readonly longest: number,
    /** Called once for each long lease. */
    private readonly onMet: (key: string, owner: string, remainingTime: number) => void,
  ) {}

  /**
   * Takes in the holder of a busy key, as read at the monotonic instant `now`. `remainingTime`: ms
   * of the longest lease of the key, if the key has several holders.
   */
  met(key: string, holder: Holder, now: number, remainingTime = leaseOf(holder)): void {
    // A key without an expiry is no lease.
    if (remainingTime <= this.longest || remainingTime === Infinity) return;
    const known = this.byKey.get(key);
    if (known === undefined) {
      const isOfHolder = remainingTime === holder.remainingTime;
      this.onMet(key, isOfHolder ? holder.owner : 'one of its holders', remainingTime);
    }
    if (this.byKey.size >= MANY) this.dropEnded(now);
    // After a loss of data the key may have another holder while the first still believes.
    const endsAt = Math.max(now + remainingTime, known?.endsAt ?? 0);
    this.byKey.set(key, { metAt: known?.metAt ?? now, endsAt });
  }

  /**
   * The keys were granted by links that have stood since a long lease was met. With the limit 1 the
   * lease is over. With a larger limit its holder may still be inside.
   */
  granted(keys: readonly string[], limit: number): void {
    if (this.byKey.size > 0 && limit === 1) for (const key of keys) this.byKey.delete(key);
  }

  /**
   * The monotonic instant since which links must have stood for a grant of these keys, in
   * addition to the quarantine. Infinity if no long lease of these keys may still run.
   */
  metAt(keys: readonly string[], now: number): number {
    if (this.byKey.size === 0) return Infinity;
    let earliest = Infinity;
    for (const key of keys) {
      const lease = this.byKey.get(key);
      if (lease === undefined) continue;
      if (lease.endsAt <= now) this.byKey.delete(key);
      else earliest = Math.min(earliest, lease.metAt);
    }
    return earliest;
  }

  private dropEnded(now: number): void {
    for (const [key, { endsAt }] of this.byKey) if (endsAt <= now) this.byKey.delete(key);
  }
}
