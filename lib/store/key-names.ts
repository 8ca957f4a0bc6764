/** Most keys that a message names: a lock may have hundreds. */
const MOST_NAMED = 5;

/**
 * The keys for a message: `'a', 'b'`. Of many keys only the first are named, and the rest are
 * counted.
 */
export function namesOf(keys: readonly string[]): string {
  const named = keys
    .slice(0, MOST_NAMED)
    .map((key) => `'${key}'`)
    .join(', ');
  return keys.length > MOST_NAMED ? `${named} and ${keys.length - MOST_NAMED} more` : named;
}
