import { namesOf } from '../store/key-names.js';
import type { Holder, StoreReport, Unconfirmed } from '../store/lock-store.js';
import { thrownText } from './error-texts.js';
import { LockNotReplicatedError } from './errors.js';
import type { Lock } from './lock.js';

/**
 * What happens to locks, as emitted by `LockService.events`. Times are in ms. `label` is the option
 * of the acquisition.
 */
export type LockEvent =
  | {
      readonly type: 'acquired';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      readonly owner: string;
      readonly fencingToken: number;
      /** The option `limit`. */
      readonly limit: number;
      readonly confirmedBy: number;
      /** ms from the call to the grant. */
      readonly waited: number;
      /** The part of `waited` from the request that was granted to the confirmation. */
      readonly confirmedIn: number;
    }
  | {
      readonly type: 'contended';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      /** The owner of the lock that is held, or one of several owners. */
      readonly holder: string | undefined;
      readonly waited: number;
    }
  | {
      /** An attempt was not confirmed and was taken back. Another attempt may follow. */
      readonly type: 'unconfirmed';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      readonly confirmed: number;
      readonly required: number;
      /** Names the missing replicas, and what to do. */
      readonly error: LockNotReplicatedError;
    }
  | {
      readonly type: 'renewed';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      readonly owner: string;
      readonly confirmedBy: number;
      readonly remainingTime: number;
    }
  | {
      readonly type: 'lost';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      readonly owner: string;
      readonly fencingToken: number;
      readonly held: number;
      readonly error: Error;
    }
  | {
      readonly type: 'released';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      readonly owner: string;
      readonly fencingToken: number;
      readonly held: number;
      /**
       * False if Redis has not answered yet. The release is then repeated in the background, at
       * most until the lease has passed.
       */
      readonly answered: boolean;
    }
  | {
      /** The leadership of an election began, was lost, or was given back: see `LockElection`. */
      readonly type: 'elected' | 'deposed' | 'resigned';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      readonly owner: string;
      /** The number of the term. */
      readonly fencingToken: number;
      /** ms since the start of the term; 0 at the start. */
      readonly led: number;
    }
  | {
      /** The work of `once` has run, and the replicas have confirmed that its result is kept. */
      readonly type: 'ran';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      readonly owner: string;
      readonly fencingToken: number;
      readonly keepFor: number;
    }
  | {
      /** A call of `once` got the result of an earlier run. */
      readonly type: 'kept';
      readonly keys: readonly string[];
      readonly label: string | undefined;
      /** The owner of the lock under which the work ran. */
      readonly owner: string;
      readonly waited: number;
    };

/**
 * `askedAt`, `sentAt`: the monotonic instants at which the caller asked, and the granted request
 * was sent.
 */
export function acquiredEvent(
  lock: Lock & { readonly grantedAt: number },
  label: string | undefined,
  askedAt: number,
  sentAt: number,
): LockEvent {
  const { keys, owner, fencingToken, limit, confirmedBy, grantedAt } = lock;
  return {
    type: 'acquired',
    keys,
    label,
    owner,
    fencingToken,
    limit,
    confirmedBy,
    waited: grantedAt - askedAt,
    confirmedIn: grantedAt - sentAt,
  };
}

/** A caller was refused. `waited`: ms. */
export function contendedEvent(
  keys: readonly string[],
  label: string | undefined,
  { owner }: Holder,
  waited: number,
): LockEvent {
  return { type: 'contended', keys, label, holder: owner === '' ? undefined : owner, waited };
}

/** An attempt that was not confirmed. `within`: ms that the replicas had for their confirmation. */
export function unconfirmedEvent(
  keys: readonly string[],
  label: string | undefined,
  outcome: Unconfirmed,
  within: number,
): LockEvent {
  const { confirmed, required } = outcome;
  const error = new LockNotReplicatedError(keys, outcome, within);
  return { type: 'unconfirmed', keys, label, confirmed, required, error };
}

/** What an operator should read about the event; undefined if all is well. */
export function reportOf(event: LockEvent): StoreReport | undefined {
  switch (event.type) {
    case 'lost':
      return { level: 'error', code: 'lock-lost', message: event.error.message };
    case 'unconfirmed':
      return { level: 'warn', code: 'lock-unconfirmed', message: event.error.message };
    case 'released':
      return event.answered ? undefined : unanswered(event.keys);
    case 'elected':
    case 'deposed':
    case 'resigned':
      return { level: 'log', code: event.type, message: leadership(event) };
    default:
      return undefined;
  }
}

/** With the term, because equal messages within seconds are logged once. */
function leadership({ type, keys, led, fencingToken }: Extract<LockEvent, { readonly led: number }>): string {
  const done = { elected: 'leads', deposed: 'has lost the leadership of', resigned: 'has resigned from' };
  const after = type === 'elected' ? '' : ` after ${(led / 1000).toFixed(1)} s`;
  return `This process ${done[type]} ${namesOf(keys)}${after} (term ${fencingToken}).`;
}

function unanswered(keys: readonly string[]): StoreReport {
  const message = `The release of ${namesOf(keys)} was not answered yet: the release is sent again until the lease has passed.`;
  return { level: 'warn', code: 'release-unanswered', message };
}

/** An error in code that listens to locks; `end` is the end of the report. */
export function listenerFailed(who: string, error: unknown, end: string): StoreReport {
  return {
    level: 'error',
    code: 'listener-failed',
    message: `${who} threw an error. No lock is affected, and further errors of it are not reported; ${end} The error: ${thrownText(error)}`,
  };
}

/**
 * The end of an acquisition: the lock, or the value that the promise rejects with. `kept`: the key
 * keeps a result, so `once` needs no lock.
 */
export type AcquisitionEnd =
  | { readonly kind: 'acquired'; readonly lock: Lock }
  | { readonly kind: 'kept' }
  | {
      readonly kind: 'refused';
      readonly error: unknown;
      /** ms that the caller was ready to wait. */
      readonly waitTime: number;
    };

/**
 * Follows acquisitions in the asynchronous context of the caller, which events do not know: for
 * tracing.
 */
export interface AcquisitionObserver {
  /**
   * Called when a caller asks. The returned function is called once, at the end. What they throw is
   * reported.
   */
  onAsked(keys: readonly string[], label: string | undefined): (end: AcquisitionEnd) => void;
}
