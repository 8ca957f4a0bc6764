import { inspect } from 'node:util';
import { namesOf } from '../store/key-names.js';
import type { Unavailable, Unconfirmed } from '../store/lock-store.js';

/**
 * One lock as the subject of a message: `Lock 'a'`, `The lock on 'a', 'b'`; see `namesOf`. Without
 * keys: all locks.
 */
export function lockOf(keys: readonly string[]): string {
  if (keys.length === 0) return 'The locks';
  return `${keys.length === 1 ? 'Lock' : 'The lock on'} ${namesOf(keys)}`;
}

/**
 * A thrown value for the log: the stack of an error, or the value. Code of the application may throw
 * any value, also one that cannot be made a text. This function never throws.
 */
export function thrownText(value: unknown): string {
  try {
    if (value instanceof Error && typeof value.stack === 'string') return value.stack;
    return typeof value === 'string' ? value : inspect(value);
  } catch {
    return 'a value that cannot be shown';
  }
}

/**
 * Which replicas did not confirm a write, and what to do, in sentences. `isRenewal`: a majority was
 * enough, whatever the option `replicas` asks for.
 */
export function whyNotConfirmed(
  { confirmed, required, replicas, master, permanent }: Unconfirmed,
  within: number,
  isRenewal = false,
): string {
  const head = `${confirmed} of the ${required} required replicas answered within ${Math.round(within)} ms.`;
  const who = master === undefined ? 'The master' : `The ${master}`;
  if (replicas.length === 0) {
    const why = `${who} lists no replica: attach one, or set allowNoReplicas: true if a single server must do (then a crash can hand the lock out twice).`;
    return permanent === true ? why.replace(/^The/, 'the') : `${head} ${why}`;
  }
  if (required > replicas.length) {
    return `${head} ${who} has only ${replicas.length === 1 ? '1 replica' : `${replicas.length} replicas`}, and the option replicas asks for ${required}: attach the missing replicas, or set replicas to ${replicas.length}.`;
  }
  const missing = replicas
    .filter((replica) => !replica.acknowledged)
    .map(
      (replica) =>
        `${replica.address} (${replica.lag === null ? 'not connected' : `${replica.lag} bytes behind`})`,
    )
    .join(', ');
  const where = master === undefined ? '' : ` on the ${master}`;
  // 'majority' helps only if a majority confirmed and the lock needs more. A renewal never does.
  const majority = Math.ceil(replicas.length / 2);
  const advice =
    !isRenewal && confirmed >= majority
      ? "Restore the missing replicas, remove them from the master for good, or set replicas: 'majority'."
      : 'Restore the missing replicas or remove them from the master for good.';
  return `${head} Missing${where}: ${missing || 'none of those known'}. ${advice}`;
}

/**
 * Why a write of the holder was not confirmed, as a part of a sentence. `within`: ms that the
 * replicas had. `isRenewal`: a majority was enough.
 */
export function reasonOf(why: Unconfirmed | Unavailable, within: number, isRenewal = true): string {
  const reason = why.kind === 'unavailable' ? why.reason : whyNotConfirmed(why, within, isRenewal);
  return reason.replace(/\.$/, '');
}

/** Who holds the key of a refused caller. `holders`: see `SharedKey`. */
export function holdersText(owner: string | undefined, holders: number): string {
  if (holders === 0) return 'kept for a waiting caller with a smaller limit';
  if (holders === 1) return `held by ${owner ?? 'another caller of this process'}`;
  return `held by ${holders} callers${owner === undefined ? '' : `, among them ${owner}`}`;
}

/** What ends in the ms that are left: see `holdersText`. */
export function endOf(holders: number): string {
  return holders === 0 ? 'That ends' : holders === 1 ? 'Its lease ends' : 'The first lease ends';
}

/** Why a lock was lost whose key holds another value, or none. */
export function keyGone(key: string): string {
  return `another client deleted or took its key '${key}', or the server lost the key in a restart or a fail-over`;
}

/** What fencing does for a lock that was lost. */
export function fenceOf(limit: number): string {
  return limit === 1
    ? 'writes that carry its fencing token are refused by a fenced resource.'
    : 'with a limit above 1 its fencing token alone does not keep its writes out, see docs/fencing.md.';
}
