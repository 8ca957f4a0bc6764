/** What a fault may cost: a held lock, or a free one that is not granted. */
export type Cost = 'loss' | 'refusal';

/** Until when the faults of a schedule may cost something. What is lost or refused without an excuse is the library's fault. */
export class Excuses {
  private readonly until = new Map<Cost, number>();

  add(cost: Cost, until: number): void {
    this.until.set(cost, Math.max(until, this.until.get(cost) ?? -Infinity));
  }

  /** Whether a fault may have had its hand in what happened since this instant. */
  cover(cost: Cost, since: number): boolean {
    return since <= (this.until.get(cost) ?? -Infinity);
  }
}
