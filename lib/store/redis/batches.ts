/** Requests in one call of a script, so that it does not hold the server for long (about 0.5 ms). */
const BATCH = 64;

/** Cuts what is to be sent into what one call of a script carries. */
export function batchesOf<T>(items: readonly T[]): T[][] {
  const batches: T[][] = [];
  for (let from = 0; from < items.length; from += BATCH) batches.push(items.slice(from, from + BATCH));
  return batches;
}
