import type { Holder } from '../../lock-store.js';

interface LongLease {
  /** The monotonic instant at which it was met first. */
  readonly metAt: number;
  /** The monotonic instant at which it ends unless it is renewed. */
  readonly endsAt: number;
}

/** Entries from which the ended ones are dropped before another is added. */
const MANY = 1_000;

/**
 * Keys that were found busy for longer than the quarantine covers: another program uses longer
 * leases than this one was told, or an operator changed an expiry. After a loss of data such a lease
 * may still be believed when the replication links are a quarantine old. So a grant of that key
 * needs links that have stood since this process read the lease, until the lease has ended. No
 * other key is affected.
 */
export class LongLeases {
  private readonly byKey = new Map<string, LongLease>();

  constructor(
    /** ms that a lock's key may live at most: the quarantine and the allowance for clocks. */
    private readonly longest: number,
    /** Called once for each such lease. */
    private readonly onMet: (key: string, owner: string, remainingTime: number) => void,
  ) {}

  /** Takes in who was found to hold the key at the monotonic instant `now`. */
  met(key: string, { owner, remainingTime, inCooldown }: Holder, now: number): void {
    // A key without an expiry is nobody's lease, and nobody holds one in its cooldown.
    if (inCooldown || remainingTime <= this.longest || remainingTime === Infinity) return;
    const known = this.byKey.get(key);
    if (known === undefined) this.onMet(key, owner, remainingTime);
    if (this.byKey.size >= MANY) this.dropEnded(now);
    // After a loss of data the key may have another holder while the first still believes.
    const endsAt = Math.max(now + remainingTime, known?.endsAt ?? 0);
    this.byKey.set(key, { metAt: known?.metAt ?? now, endsAt });
  }

  /** The keys were granted: over links that have stood since a lease was met, so it had ended. */
  granted(keys: readonly string[]): void {
    if (this.byKey.size > 0) for (const key of keys) this.byKey.delete(key);
  }

  /**
   * The monotonic instant since which links must have stood for a grant of these keys, beside the
   * quarantine; Infinity if none of them had a long lease that may still run.
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
