/**
 * How long a replica must have followed its master before its word counts for a new grant: the longest lease that anybody may hold.
 * A fixed number, or the longest lease seen by this process.
 */
export class Quarantine {
  private longest: number;

  constructor(
    private readonly fixed: number | undefined,
    leaseTime: number,
  ) {
    this.longest = leaseTime;
  }

  /** ms */
  get time(): number {
    return this.fixed ?? this.longest;
  }

  /** A lease that was granted, or met in the answer that a key is busy. */
  seen(leaseTime: number): void {
    if (leaseTime > this.longest) this.longest = leaseTime;
  }
}
