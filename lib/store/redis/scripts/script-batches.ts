import { MOST_KEYS } from '../../lock-store.js';
import type { LockScripts } from './lock-scripts.js';

/** The most requests in one run of a script, which then blocks the server for about 0.5 ms. */
const BATCH = 64;

interface Item {
  readonly keys: readonly string[];
  readonly slot: number | undefined;
  readonly scripts: LockScripts;
  /**
   * The item gets a batch of its own. Redis refuses a run as a whole, even if the user may not touch
   * only one of its keys, or if only one key has already moved to another master. So an item that
   * was refused together with others is sent again alone.
   */
  readonly isAlone?: boolean;
}

/** Items that share a run of a script. */
export interface Batch<T> {
  readonly scripts: LockScripts;
  readonly items: T[];
}

interface OpenBatch<T> extends Batch<T> {
  keys: number;
}

/**
 * Cuts items into runs of a script: by their number and keys, by kind of lock, and in a Cluster by
 * slot. A run has no more keys than a lock may have. With client tracking, Redis 7.0 remembers all
 * keys of a run at each read in it, so the cost is quadratic in the number of keys.
 */
export function batchesOf<T extends Item>(items: readonly T[]): Batch<T>[] {
  const batches: Batch<T>[] = [];
  const open = new Map<LockScripts, Map<number | undefined, OpenBatch<T>>>();
  for (const item of items) {
    const { scripts, slot, keys } = item;
    if (item.isAlone === true) {
      batches.push({ scripts, items: [item] });
      continue;
    }
    let bySlot = open.get(scripts);
    if (bySlot === undefined) open.set(scripts, (bySlot = new Map()));
    let batch = bySlot.get(slot);
    if (batch === undefined || batch.items.length === BATCH || batch.keys + keys.length > MOST_KEYS) {
      batch = { scripts, items: [], keys: 0 };
      bySlot.set(slot, batch);
      batches.push(batch);
    }
    batch.items.push(item);
    batch.keys += keys.length;
  }
  return batches;
}
