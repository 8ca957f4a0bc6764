/** Requests in one call of a script, so that it does not hold the server for long (about 0.5 ms). */
const BATCH = 64;

interface Item {
  readonly slot: number | undefined;
  /** Its slot is on its way to another master: one key that has gone ahead would stop all others of the same call. */
  readonly isAlone?: boolean;
}

/** Cuts what is to be sent into what one call of a script carries; in a Cluster it carries keys of one slot only. */
export function batchesOf<T extends Item>(items: readonly T[]): T[][] {
  if (items[0]?.slot === undefined) return pieces(items);
  const bySlot = new Map<number | T | undefined, T[]>();
  for (const item of items) {
    const place = item.isAlone === true ? item : item.slot;
    const sameSlot = bySlot.get(place);
    if (sameSlot === undefined) bySlot.set(place, [item]);
    else sameSlot.push(item);
  }
  return [...bySlot.values()].flatMap(pieces);
}

function pieces<T>(items: readonly T[]): T[][] {
  const batches: T[][] = [];
  for (let from = 0; from < items.length; from += BATCH) batches.push(items.slice(from, from + BATCH));
  return batches;
}
