/** One replica, as a master reported it. */
export interface ReplicaReport {
  readonly address: string;
  /**
   * True if the replica has confirmed the write in question. In a health report: true if the
   * replica answers.
   */
  readonly acknowledged: boolean;
  /** Bytes of the replication stream that the replica is behind; null while it is not connected. */
  readonly lag: number | null;
}

export interface StoreHealth {
  /** `degraded`: locks are refused or less protected, for a reason that `masters` names. */
  readonly status: 'up' | 'degraded' | 'down';
  /** One entry per master; none in memory. */
  readonly masters: readonly MasterHealth[];
}

export interface MasterHealth {
  readonly address: string;
  readonly connected: boolean;
  /** Why the master is not `up`, in words. */
  readonly reason?: string;
  /** What should be configured otherwise, in words, although locks are granted. */
  readonly warnings?: readonly string[];
  readonly replicas: readonly ReplicaReport[];
  /** @deprecated The old name of `replicas`. Only `LockService.health` fills it in. */
  readonly members?: readonly ReplicaReport[];
  /** ms until the quarantine ends; 0 if there is none. Other refusals are in `reason`. */
  readonly quarantine: number;
  /** Whether client tracking tells waiters and holders of changes. */
  readonly tracking: boolean;
  readonly commits: CommitCounts;
}

/**
 * What was sent to a master since the start: `requests` (acquisitions, renewals) in `groups`. Each
 * group waited for the replicas once.
 */
export interface CommitCounts {
  readonly groups: number;
  readonly requests: number;
}
