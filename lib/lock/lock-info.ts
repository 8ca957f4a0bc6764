import type { StoreHealth } from '../store/lock-store.js';

/** The holder of a key, as `LockService.inspect` returns it. */
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
}

/** The state of one election in this process. */
export interface ElectionHealth {
  readonly key: string;
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
