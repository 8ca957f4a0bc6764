/** Keys that a message names: a lock may have hundreds. */
const MOST_NAMED = 5;

/** `'a', 'b'`; of many keys the first ones, and how many more there are. */
export function namesOf(keys: readonly string[]): string {
  const named = keys
    .slice(0, MOST_NAMED)
    .map((key) => `'${key}'`)
    .join(', ');
  return keys.length > MOST_NAMED ? `${named} and ${keys.length - MOST_NAMED} more` : named;
}
