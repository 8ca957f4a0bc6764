import type { ReplicaReport } from './lock-store.js';

/** A master's replicas in numbers. */
export interface ReplicaCounts {
  readonly known: number;
  readonly connected: number;
  /** Those that answer: they have acknowledged what was written lately. */
  readonly confirming: number;
  /** Bytes that the slowest connected one is behind. */
  readonly lag: number;
}

/** Of the replicas that `health` reports. */
export function countReplicas(replicas: readonly ReplicaReport[]): ReplicaCounts {
  const lags = replicas.flatMap(({ lag }) => (lag === null ? [] : [lag]));
  return {
    known: replicas.length,
    connected: lags.length,
    confirming: replicas.filter(({ acknowledged }) => acknowledged).length,
    lag: Math.max(0, ...lags),
  };
}
