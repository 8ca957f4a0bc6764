import type { StoreReport } from '../store/lock-store.js';
import { thrownText } from './error-texts.js';
import { LockLostError } from './errors.js';
import type { Lock } from './lock.js';

/** ms after the end of a term, after which work that still runs is reported. */
export const OVERDUE_TIME = 10_000;

/** Why no process can lead if its key is the key of work that ran once. */
export const KEEPS_RESULT =
  'its key keeps the result of work that ran once (LockService.once). Give the election a key of its own, or remove the result (LockService.forceRelease).';

/** This process cannot stand. `retryTime`: ms. */
export function refused(key: string, retryTime: number, why: string): StoreReport {
  const message = `This process cannot stand for the election '${key}', and tries again every ${retryTime} ms: ${why}`;
  return { level: 'error', code: 'election-refused', message };
}

/** This process stands again after a refusal. */
export function resumed(key: string): StoreReport {
  const message = `This process stands for the election '${key}' again.`;
  return { level: 'log', code: 'election-resumed', message };
}

/** The long-lived work failed. `when`: how its failure and the end of its term relate. */
export function workFailed(key: string, when: string, error: unknown): StoreReport {
  const message = `The work of the leader of '${key}' failed, ${when}: ${thrownText(error)}`;
  return { level: 'error', code: 'election-work-failed', message };
}

/**
 * The long-lived work returned soon. Work that only starts something and returns would pass the
 * leadership on every few seconds. `after`: ms.
 */
export function workEnded(key: string, after: number): StoreReport {
  const message =
    `The work of the leader of '${key}' ended by itself after ${Math.round(after)} ms, so this process gives the leadership back and stands again after a pause. ` +
    'Work that lasts as long as the term ends only when the signal of the term aborts.';
  return { level: 'warn', code: 'election-work-ended', message };
}

/** The long-lived work still runs `OVERDUE_TIME` after its term. */
export function workOverdue(key: string): StoreReport {
  const message =
    `The work of the leader of '${key}' still runs ${OVERDUE_TIME / 1_000} s after its term has ended. This process stands again only when the work has ended. ` +
    'The work must end when the signal of the term aborts.';
  return { level: 'warn', code: 'election-work-overdue', message };
}

/** True if the work rejected because its signal aborted, or because its term was lost: no failure. */
export function isAbort(error: unknown, term: Lock): boolean {
  try {
    for (let each = error, depth = 0; each !== undefined && each !== null && depth < 5; depth++) {
      const { name, cause } = each as { readonly name?: unknown; readonly cause?: unknown };
      if (each === term.signal.reason || name === 'AbortError') return true;
      if (each instanceof LockLostError && each.keys.includes(term.key)) return true;
      each = cause;
    }
  } catch {
    // A getter of the thrown value throws: the value is no abort.
  }
  return false;
}
