import type { AcquisitionEnd } from '../lock/events.js';
import { ReplicaLockError, type LockErrorCode } from '../lock/errors.js';

/** The lock's name: a key template or the like, and never a key. See `LockNames`. */
export const LOCK_NAME = 'replica_lock.name';
/** The name of the module instance, `default` for the unnamed one. */
export const INSTANCE = 'replica_lock.instance';
/** How an acquisition ended. */
export const OUTCOME = 'replica_lock.outcome';
/** How a held lock ended: `released` or `lost`. */
export const END = 'replica_lock.end';
/** `known`, `connected` or `confirming`. */
export const REPLICA_STATE = 'replica_lock.replica.state';
export const CONFIRMED_BY = 'replica_lock.confirmed_by';
export const FENCING_TOKEN = 'replica_lock.fencing_token';
/** The option `limit`. Absent if the lock has no limit, because not every exporter can write Infinity. */
export const LIMIT = 'replica_lock.limit';
/** These three are attributes of OpenTelemetry's semantic conventions. */
export const ERROR_TYPE = 'error.type';
export const SERVER_ADDRESS = 'server.address';
export const SERVER_PORT = 'server.port';

/** How an acquisition ended, as metrics and spans report the end. */
export type Outcome =
  'acquired' | 'kept' | 'contended' | 'skipped' | 'unconfirmed' | 'unavailable' | 'refused' | 'aborted';

const OUTCOMES: Partial<Record<LockErrorCode, Outcome>> = {
  LOCK_CONTENDED: 'contended',
  LOCK_NOT_REPLICATED: 'unconfirmed',
  LOCK_UNAVAILABLE: 'unavailable',
};

export function outcomeOf(end: AcquisitionEnd): Outcome {
  if (end.kind !== 'refused') return end.kind;
  // A caller that aborts the wait supplies an error of its own.
  if (!(end.error instanceof ReplicaLockError)) return 'aborted';
  const outcome = OUTCOMES[end.error.code] ?? 'refused';
  // A caller that does not wait expects busy locks: a job whose other copies skip the tick. Only a
  // wait that was in vain is contention.
  return outcome === 'contended' && end.waitTime === 0 ? 'skipped' : outcome;
}

export function addressAttributes(address: string): Record<string, string | number> {
  const colon = address.lastIndexOf(':');
  const port = Number(address.slice(colon + 1));
  if (colon < 0 || !Number.isInteger(port)) return { [SERVER_ADDRESS]: address };
  return { [SERVER_ADDRESS]: address.slice(0, colon), [SERVER_PORT]: port };
}
