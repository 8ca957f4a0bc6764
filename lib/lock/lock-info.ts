import type { Holder, InspectOutcome, StoreHealth } from '../store/lock-store.js';
import { resultOf } from './once-result.js';

/**
 * A holder of a key, or the result that the key keeps, as `LockService.inspect` and `inspectAll`
 * return it.
 */
export interface LockInfo {
  readonly key: string;
  /** Names the grant, with the host and the process that hold the key. */
  readonly owner: string;
  /** The fencing token of the grant, see `Lock.fencingToken`. */
  readonly fencingToken: number;
  /**
   * ms until the key expires if the holder does not renew. At most the rest of the lease plus the
   * option `clockSkew`. Infinity if the key has no time to live.
   */
  readonly remainingTime: number;
  /** The option `limit` of the holder. */
  readonly limit: number;
  /** The number of holders of the key. */
  readonly holders: number;
  /**
   * The key has no holder: it keeps the result of work that ran once (`LockService.once`). `owner`
   * and `fencingToken` are those of that run. Undefined for a lock.
   */
  readonly kept?: { readonly result: unknown };
}

/** None if the key is free. */
export function lockInfos(
  key: string,
  outcome: Extract<InspectOutcome, { kind: 'held' | 'kept' | 'free' }>,
): readonly LockInfo[] {
  if (outcome.kind === 'free') return [];
  if (outcome.kind === 'held')
    return outcome.holders.map((holder) => lockInfo(key, holder, outcome.holders.length));
  return [{ ...lockInfo(key, outcome.holder, 0), kept: { result: resultOf(outcome.result) } }];
}

function lockInfo(key: string, { owner, token, remainingTime, limit }: Holder, holders: number): LockInfo {
  return { key, owner, fencingToken: token, remainingTime, limit, holders };
}

/** The state of one election in this process. */
export interface ElectionHealth {
  readonly key: string;
  /** The name of the election in metrics: the option `label`, or the key. */
  readonly label: string;
  /** True if this process leads now. */
  readonly isLeader: boolean;
}

/** The state of Redis as last seen, and the locks of this process. */
export interface LockHealth extends StoreHealth {
  /** Locks that this process holds now. */
  readonly held: number;
  /** The number of locks that this process has lost since the start. */
  readonly lost: number;
  /** The elections for which this process stands. */
  readonly elections: readonly ElectionHealth[];
}

export function lockHealth(
  { status, masters }: StoreHealth,
  held: number,
  lost: number,
  elections: readonly ElectionHealth[],
): LockHealth {
  return {
    status,
    masters: masters.map((master) => ({ ...master, members: master.replicas })),
    held,
    lost,
    elections,
  };
}
