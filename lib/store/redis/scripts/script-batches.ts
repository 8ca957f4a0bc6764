import { MOST_KEYS } from '../../lock-store.js';

/** The most requests in one run of a script, which then blocks the server for about 0.5 ms. */
const BATCH = 64;

interface Item {
  readonly keys: readonly string[];
  readonly slot: number | undefined;
  /**
   * The item gets a run of its own. Redis refuses a run as a whole, even if the user may not touch
   * only one of its keys, or if only one key has already moved to another master. So an item that
   * was refused together with others is sent again alone.
   */
  readonly isAlone?: boolean;
}

interface Batch<T> {
  readonly items: T[];
  keys: number;
}

/**
 * Cuts items into runs of a script: by their number, by keys, and in a Cluster by slot. A run has
 * no more keys than a lock may have. With client tracking, Redis 7.0 remembers all keys of a run at
 * each read in it, so the cost is quadratic in the number of keys.
 */
export function batchesOf<T extends Item>(items: readonly T[]): T[][] {
  const batches: T[][] = [];
  const openBatches = new Map<number | undefined, Batch<T>>();
  for (const item of items) {
    if (item.isAlone === true) {
      batches.push([item]);
      continue;
    }
    let batch = openBatches.get(item.slot);
    if (batch === undefined || batch.items.length === BATCH || batch.keys + item.keys.length > MOST_KEYS) {
      batch = { items: [], keys: 0 };
      openBatches.set(item.slot, batch);
      batches.push(batch.items);
    }
    batch.items.push(item);
    batch.keys += item.keys.length;
  }
  return batches;
}
