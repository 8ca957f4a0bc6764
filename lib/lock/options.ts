import type { ReplicaPolicy } from '../store/lock-store.js';

/** Milliseconds, or a string such as `'30s'` or `'2 minutes'` (read by the `ms` package). */
export type Duration = number | string;

/** What one acquisition may ask for; what it leaves out comes from the module's options. */
export interface AcquireOptions {
  /** How long the lock outlives a dead holder. At least 100 ms. Default: the module's, 15 s. */
  leaseTime?: Duration;
  /** How long to wait while somebody else holds the lock; 0 does not wait, Infinity waits for ever. Default: the module's, 10 s. */
  waitTime?: Duration;
  /** Renew every third of the lease while held. Default: the module's, true. */
  renew?: boolean;
  /** Renewing stops after this; the lock then ends with its last lease and its signal says so. Default: the module's, none. */
  maxHoldTime?: Duration;
  /** Released earlier, the key stays busy until this has passed since the acquisition. Default: 0. */
  minHoldTime?: Duration;
  /** Who must confirm, beside the majority of the servers. Default: the module's, `'all'`. */
  replicas?: ReplicaPolicy;
  /** How long one attempt waits for confirmations. Default: the module's, 1 s. */
  replicaTimeout?: Duration;
  /** Ends the waiting: the promise then rejects with its reason. */
  signal?: AbortSignal;
}

/** What `withLock` and decorated methods may ask for beside that. */
export interface WithLockOptions extends AcquireOptions {
  /** Join a lock on the same key that this asynchronous context already holds. Default: true. */
  reentrant?: boolean;
}

/** The same, checked and in milliseconds: the module's defaults. */
export interface LockDefaults {
  readonly leaseTime: number;
  readonly waitTime: number;
  readonly renew: boolean;
  readonly maxHoldTime: number | undefined;
  readonly replicas: ReplicaPolicy;
  readonly replicaTimeout: number;
  readonly shutdownTimeout: number;
}
