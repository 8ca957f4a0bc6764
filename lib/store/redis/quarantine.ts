/**
 * How long a replica must have followed its master before its word counts for a new grant: the longest lease that anybody may hold.
 * What was given, or the longest lease seen by this process, whichever is longer; 0 is none at all.
 */
export class Quarantine {
  private readonly isOff: boolean;
  private longest: number;

  constructor(given: number | undefined, leaseTime: number) {
    this.isOff = given === 0;
    this.longest = given ?? leaseTime;
  }

  /** ms */
  get time(): number {
    return this.isOff ? 0 : this.longest;
  }

  /** A lease that is asked for here, or met in the answer that a key is busy; one without an end is no lease. */
  seen(leaseTime: number): void {
    if (leaseTime > this.longest && leaseTime !== Infinity) this.longest = leaseTime;
  }
}
