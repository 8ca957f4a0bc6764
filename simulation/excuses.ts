/** What a fault may cost: a held lock is lost, or a free lock is not granted. */
export type Cost = 'loss' | 'refusal';

/**
 * Until when the faults of a schedule may cost something. A loss or refusal without an excuse is a
 * fault of the library.
 */
export class Excuses {
  private readonly until = new Map<Cost, number>();

  add(cost: Cost, until: number): void {
    this.until.set(cost, Math.max(until, this.until.get(cost) ?? -Infinity));
  }

  /** Whether a fault may have caused what happened since this instant. */
  cover(cost: Cost, since: number): boolean {
    return since <= (this.until.get(cost) ?? -Infinity);
  }
}
