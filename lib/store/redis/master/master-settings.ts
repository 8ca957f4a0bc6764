import type { ReplicaPolicy } from '../../lock-store.js';

/** The events that a master reports to the store. */
export interface MasterListener {
  /** A key was changed; undefined if any key may have changed without a notice. */
  onChange(key: string | undefined): void;
  /**
   * The session has ended: there are no notices until the next session begins, which calls
   * `onChange(undefined)`.
   */
  onUnreachable(): void;
  onReport(level: 'log' | 'warn' | 'error', code: string, message: string): void;
}

/** The options of the store that concern a master. */
export interface MasterSettings {
  readonly replicas: ReplicaPolicy;
  readonly keyPrefix: string;
  readonly allowNoReplicas: boolean;
  /** ms that links of replicas must have stood before a grant; 0 if there is no quarantine. */
  readonly quarantine: number;
  /** ms that a confirmation may take. */
  readonly replicaTimeout: number;
  /** ms by which a key outlives the lease. */
  readonly clockSkew: number;
  readonly allowEviction: boolean;
}
