import type { LockInfo } from '../../lock/lock-info.js';
import { visible } from '../output.js';

export const HEAD = ['KEY', 'OWNER', 'TOKEN', 'LIMIT', 'ENDS IN'] as const;

/** One holder, or one kept result, as a row of a table. */
export function rowOf({ key, owner, fencingToken, limit, remainingTime, kept }: LockInfo): string[] {
  return [
    visible(key),
    visible(owner),
    String(fencingToken),
    kept === undefined ? (limit === Infinity ? 'none' : String(limit)) : 'kept',
    timeText(remainingTime),
  ];
}

function timeText(ms: number): string {
  if (ms === Infinity) return 'never';
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}
