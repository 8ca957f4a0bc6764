import type { ReplicaReport } from './lock-store.js';

/** The numbers of a master's replicas. */
export interface ReplicaCounts {
  readonly known: number;
  readonly connected: number;
  /** Replicas that answer: they have acknowledged the latest writes. */
  readonly confirming: number;
  /** Bytes that the slowest connected replica is behind. */
  readonly lag: number;
}

/** Counts the replicas that `health` reports. */
export function countReplicas(replicas: readonly ReplicaReport[]): ReplicaCounts {
  const lags = replicas.flatMap(({ lag }) => (lag === null ? [] : [lag]));
  return {
    known: replicas.length,
    connected: lags.length,
    confirming: replicas.filter(({ acknowledged }) => acknowledged).length,
    lag: Math.max(0, ...lags),
  };
}
