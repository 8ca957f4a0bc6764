import { namesOf } from '../store/key-names.js';
import type { Unconfirmed } from '../store/lock-store.js';

/** One lock as the subject of a message: `Lock 'a'`, `The lock on 'a', 'b'`; see `namesOf`. */
export function lockOf(keys: readonly string[]): string {
  return `${keys.length === 1 ? 'Lock' : 'The lock on'} ${namesOf(keys)}`;
}

/**
 * Which replicas did not confirm a write, and what to do, in sentences. `isRenewal`: a majority was
 * enough, whatever the option `replicas` asks for.
 */
export function whyNotConfirmed(
  { confirmed, required, replicas, master }: Unconfirmed,
  within: number,
  isRenewal = false,
): string {
  const head = `${confirmed} of the ${required} required replicas answered within ${Math.round(within)} ms.`;
  const who = master === undefined ? 'The master' : `The ${master}`;
  if (replicas.length === 0) {
    return `${head} ${who} lists no replica: attach one, or set allowNoReplicas: true if a single server must do (then a crash can hand the lock out twice).`;
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
  return `${head} Missing${master === undefined ? '' : ` on the ${master}`}: ${missing || 'none of those known'}. Restore the missing replicas${isRenewal ? ' or remove them from the master for good' : ", remove them from the master for good, or set replicas: 'majority'"}.`;
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

/** What fencing does for a lock that was lost. */
export function fenceOf(limit: number): string {
  return limit === 1
    ? 'writes that carry its fencing token are refused by a fenced resource.'
    : 'with a limit above 1 its fencing token alone does not keep its writes out, see docs/fencing.md.';
}
