import type { MemberReport } from './lock-store.js';

/** A master's replicas in numbers. */
export interface MemberCounts {
  readonly known: number;
  readonly connected: number;
  /** Those that answer: they have acknowledged what was written lately. */
  readonly confirming: number;
  /** Bytes that the slowest connected one is behind. */
  readonly lag: number;
}

/** Of the members that `health` reports. */
export function countMembers(members: readonly MemberReport[]): MemberCounts {
  const lags = members.flatMap(({ lag }) => (lag === null ? [] : [lag]));
  return {
    known: members.length,
    connected: lags.length,
    confirming: members.filter(({ acknowledged }) => acknowledged).length,
    lag: Math.max(0, ...lags),
  };
}
