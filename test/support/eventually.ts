import { setTimeout as sleep } from 'node:timers/promises';

const BETWEEN_LOOKS = 10;
const UNENDED = 'the last check did not end';

/**
 * Checks `condition` until the result is truthy, and returns the result. A check that throws counts
 * as "not yet". Fails after `within` ms (default 5,000) with `what` was waited for and the
 * error of the last check.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { within = 5_000, what }: { within?: number; what: string },
): Promise<Exclude<T, false | null | undefined | 0 | ''>> {
  const deadline = performance.now() + within;
  let last = 'it did not hold';
  do {
    try {
      const found = await bounded(condition, deadline);
      if (found) return found as Exclude<T, false | null | undefined | 0 | ''>;
      last = 'it did not hold';
    } catch (error) {
      const why = String((error as { message?: unknown } | undefined)?.message ?? error);
      last = why === UNENDED ? `${UNENDED}; before that: ${last}` : why;
    }
    await sleep(BETWEEN_LOOKS);
  } while (performance.now() < deadline);
  throw new Error(`Waited ${within} ms in vain until ${what}: ${last}`);
}

/**
 * A check may hang itself, for instance at a stopped server. The deadline ends such a check too.
 */
async function bounded<T>(look: () => T | Promise<T>, deadline: number): Promise<T> {
  const end = new AbortController();
  try {
    return await Promise.race([
      Promise.resolve(look()),
      sleep(Math.max(1, deadline - performance.now()), undefined, { signal: end.signal }).then(() => {
        throw new Error(UNENDED);
      }),
    ]);
  } finally {
    end.abort();
  }
}
