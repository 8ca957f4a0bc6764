/**
 * A set, in no order, of objects that carry their own index in the property `indexName`. A `Set`
 * that is filled and emptied tens of thousands of times a second makes a new table for every few
 * hundred objects. Each old table keeps its objects from being collected early, which took half of
 * the time.
 */
export class IntrusiveSet<P extends string, T extends Record<P, number>> {
  private items: T[] = [];

  constructor(private readonly indexName: P) {}

  get size(): number {
    return this.items.length;
  }

  /** Adding an item twice has no effect. */
  add(item: T): void {
    if (item[this.indexName] >= 0) return;
    (item as Record<P, number>)[this.indexName] = this.items.push(item) - 1;
  }

  delete(item: T): void {
    const index = item[this.indexName];
    if (index < 0) return;
    const last = this.items.pop()!;
    if (last !== item) {
      this.items[index] = last;
      (last as Record<P, number>)[this.indexName] = index;
    }
    (item as Record<P, number>)[this.indexName] = NO_INDEX;
  }

  clear(): void {
    for (const item of this.items) (item as Record<P, number>)[this.indexName] = NO_INDEX;
    this.items = [];
  }

  /** The items that are in the set when the loop begins. */
  [Symbol.iterator](): IterableIterator<T> {
    return [...this.items].values();
  }
}

/** The index of an object that is in no set. */
export const NO_INDEX = -1;
