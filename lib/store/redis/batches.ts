/** Requests in one call of a script, so that it does not hold the server for long (about 0.5 ms). */
const BATCH = 64;

/** Gathers what can travel in one call of a script (those with the same label) into batches, in the order of their first. */
export function batchesBy<T>(items: readonly T[], labelOf: (item: T) => string): T[][] {
  const batches: T[][] = [];
  const open = new Map<string, T[]>();
  for (const item of items) {
    const label = labelOf(item);
    let batch = open.get(label);
    if (batch === undefined || batch.length === BATCH) {
      batch = [];
      open.set(label, batch);
      batches.push(batch);
    }
    batch.push(item);
  }
  return batches;
}
