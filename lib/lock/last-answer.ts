import { confirmTimeOf, type LockStore, type Unavailable, type Unconfirmed } from '../store/lock-store.js';
import { LockContendedError, LockNotReplicatedError, LockUnavailableError } from './errors.js';
import type { SharedOutcome } from './wait-queue.js';

/**
 * The answer that explains best why a caller got no lock: the caller's own answer, or the last
 * answer that the queue heard. If the two differ in kind (busy or failed), the queue's answer is
 * preferred, because it came later.
 */
export function newestOutcome(
  own: SharedOutcome | undefined,
  heard: SharedOutcome | undefined,
): SharedOutcome | undefined {
  if (own === undefined || heard === undefined) return heard ?? own;
  const isOtherKind = (own.outcome.kind === 'busy') !== (heard.outcome.kind === 'busy');
  return isOtherKind || own.outcome === heard.outcome ? heard : own;
}

/**
 * True if waiting cannot help: an operator has to mend the deployment first, or the store
 * refuses for longer than the ms that the caller has left.
 */
export function isInVain(failure: Unconfirmed | Unavailable, timeLeft: number): boolean {
  if (failure.permanent === true) return true;
  return failure.kind === 'unavailable' && (failure.retryAfter ?? 0) > timeLeft;
}

/** For a caller without an answer: the state of the masters explains why. */
export function silenceOf(store: LockStore): Unavailable {
  const master = store.health().masters.find(({ reason }) => reason !== undefined);
  const retryAfter = master?.quarantine === 0 ? undefined : master?.quarantine;
  return {
    kind: 'unavailable',
    reason: master?.reason ?? 'the store did not answer in time.',
    ...(retryAfter !== undefined && { retryAfter }),
  };
}

/** The error of a caller whose last answer this was. `ownOwner`: see `Acquisition`. */
export function refusalOf(
  keys: readonly string[],
  { outcome, asker, at }: SharedOutcome,
  {
    waitTime,
    ownOwner,
    now,
  }: { readonly waitTime: number; readonly ownOwner: string | undefined; readonly now: number },
): Error {
  if (outcome.kind === 'unavailable') return new LockUnavailableError(keys, outcome);
  if (outcome.kind === 'unconfirmed')
    return new LockNotReplicatedError(keys, outcome, confirmTimeOf(asker.options));
  const { owner, remainingTime, keepsResult } = outcome.holder;
  const left = Math.max(0, remainingTime - (now - at));
  const isOwn = owner === ownOwner;
  const holders = outcome.shared?.holders ?? 1;
  return new LockContendedError(keys, owner || undefined, left, waitTime, isOwn, keepsResult, holders);
}
