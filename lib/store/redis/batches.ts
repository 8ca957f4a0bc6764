/** Requests in one call of a script, so that it does not hold the server for long (about 0.5 ms). */
const BATCH = 64;

/** Cuts what is to be sent into what one call of a script carries; in a Cluster it carries keys of one slot only. */
export function batchesOf<T extends { readonly slot: number | undefined }>(items: readonly T[]): T[][] {
  if (items[0]?.slot === undefined) return pieces(items);
  const bySlot = new Map<number | undefined, T[]>();
  for (const item of items) {
    const sameSlot = bySlot.get(item.slot);
    if (sameSlot === undefined) bySlot.set(item.slot, [item]);
    else sameSlot.push(item);
  }
  return [...bySlot.values()].flatMap(pieces);
}

function pieces<T>(items: readonly T[]): T[][] {
  const batches: T[][] = [];
  for (let from = 0; from < items.length; from += BATCH) batches.push(items.slice(from, from + BATCH));
  return batches;
}
