import type { Clock } from '../common/clock.js';
import {
  RELEASE_ALLOWANCE,
  type HeldKeys,
  type LockStore,
  type ReleaseOutcome,
} from '../store/lock-store.js';
import { reasonOf } from './error-texts.js';

/**
 * Keeps the keys of a lock busy for `cooldown` ms, longer than the lease: extends the life of the
 * keys, with confirmation, without a holder. The caller gets the answer as soon as for any release.
 * The store goes on asking for the confirmation.
 */
export async function keepBusy(
  lock: HeldKeys,
  cooldown: number,
  replicaTimeout: number,
  { store, clock }: { readonly store: LockStore; readonly clock: Clock },
): Promise<ReleaseOutcome> {
  const within = replicaTimeout + RELEASE_ALLOWANCE;
  let stopTimer: () => void = () => {};
  const timeUp = new Promise<ReleaseOutcome>((resolve) => {
    stopTimer = clock.after(within, () => resolve(notKept(within)));
  });
  const kept = store.renew(lock, cooldown, 'cooldown').outcome.then((outcome): ReleaseOutcome => {
    if (outcome.kind !== 'expired') return { kind: 'released', ours: outcome.kind === 'renewed' };
    return { kind: 'unavailable', reason: reasonOf(outcome.why, lock.leaseTime) };
  });
  const outcome = await Promise.race([kept, timeUp]);
  stopTimer();
  return outcome;
}

function notKept(within: number): ReleaseOutcome {
  return {
    kind: 'unavailable',
    reason:
      `it was released, but the replicas did not confirm within ${Math.round(within)} ms that its key stays busy for minHoldTime. ` +
      'They are asked again until the lease has passed.',
  };
}
