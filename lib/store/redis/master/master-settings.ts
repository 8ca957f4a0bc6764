import type { ReplicaPolicy } from '../../lock-store.js';

/** What a master tells the store that it belongs to. */
export interface MasterListener {
  /** A key was changed by somebody; undefined: any of them may have been, unheard. */
  onChange(key: string | undefined): void;
  /** The session has ended: changes are not heard until the next one begins, which is told as a change of every key. */
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
