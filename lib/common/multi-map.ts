/**
 * The values of each key, usually a single one. A single value is kept without a set around it, so
 * that it takes no more memory than in a `Map`.
 */
export class MultiMap<K, V extends object> {
  private readonly entries = new Map<K, V | Set<V>>();

  add(key: K, value: V): void {
    const present = this.entries.get(key);
    if (present === undefined) this.entries.set(key, value);
    else if (present instanceof Set) present.add(value);
    else if (present !== value) this.entries.set(key, new Set([present, value]));
  }

  delete(key: K, value: V): void {
    const present = this.entries.get(key);
    if (present instanceof Set) {
      present.delete(value);
      if (present.size === 0) this.entries.delete(key);
    } else if (present === value) this.entries.delete(key);
  }

  /** The values of the key at the moment of the call, in the order in which they were added. */
  of(key: K): readonly V[] {
    const present = this.entries.get(key);
    if (present === undefined) return [];
    return present instanceof Set ? [...present] : [present];
  }
}
