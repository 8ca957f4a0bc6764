/**
 * A set of objects that carry their own place in it, in their property `place`; in no order. A `Set` that is filled and emptied tens of thousands of
 * times a second makes a new table for every few hundred of them, and each old table keeps all that stood in it from being collected
 * early: half of the time went there.
 */
export class Roster<P extends string, T extends Record<P, number>> {
  private items: T[] = [];

  constructor(private readonly place: P) {}

  get size(): number {
    return this.items.length;
  }

  /** Once is enough. */
  add(item: T): void {
    if (item[this.place] >= 0) return;
    (item as Record<P, number>)[this.place] = this.items.push(item) - 1;
  }

  delete(item: T): void {
    const place = item[this.place];
    if (place < 0) return;
    const last = this.items.pop()!;
    if (last !== item) {
      this.items[place] = last;
      (last as Record<P, number>)[this.place] = place;
    }
    (item as Record<P, number>)[this.place] = NO_PLACE;
  }

  clear(): void {
    for (const item of this.items) (item as Record<P, number>)[this.place] = NO_PLACE;
    this.items = [];
  }

  /** Those that are in it when the loop begins. */
  [Symbol.iterator](): IterableIterator<T> {
    return [...this.items].values();
  }
}

/** The place of an object that stands in no roster. */
export const NO_PLACE = -1;
