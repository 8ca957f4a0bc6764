import type { ReplicaPolicy } from '../../lock-store.js';

/** What a master tells the store to which it belongs. */
export interface MasterListener {
  /** A key was changed; undefined if any key may have changed without a notice. */
  onChange(key: string | undefined): void;
  /**
   * The session has ended: there are no notices until the next session begins, which calls
   * `onChange(undefined)`.
   */
  onLost(): void;
  onReport(level: 'log' | 'warn' | 'error', code: string, message: string): void;
}

export interface MasterSettings {
  readonly replicas: ReplicaPolicy;
  readonly keyPrefix: string;
  readonly allowNoReplicas: boolean;
  readonly quarantine: number;
  readonly replicaTimeout: number;
  readonly clockSkew: number;
  readonly allowEviction: boolean;
}
