import type { LoggerService } from '@nestjs/common';
import type { LockService } from '../lock/lock-service.js';

/** ms in which one kind of warning is written once. */
const QUIET_TIME = 10_000;

/** Reports that may come in thousands at once, each about another key. */
const FLOODS: ReadonlySet<string> = new Set(['lock-unconfirmed', 'release-unanswered']);

/**
 * Writes what an operator should know: the store's reports, lost locks and refused confirmations.
 * Writes nothing per acquisition, and no flood.
 */
export function logLocks(service: LockService, logger: LoggerService): void {
  /** What was written within the last `QUIET_TIME`, and when. */
  const lastAt = new Map<string, number>();
  const isNew = (what: string): boolean => {
    const now = performance.now();
    // The oldest stand first. Messages that name a term never come twice.
    for (const [old, at] of lastAt) {
      if (now - at < QUIET_TIME) break;
      lastAt.delete(old);
    }
    if (lastAt.has(what)) return false;
    lastAt.set(what, now);
    return true;
  };
  service.reports.subscribe(({ level, code, message }) => {
    if (FLOODS.has(code)) {
      if (isNew(code)) logger[level](`${message} Further ones are not logged for ${QUIET_TIME / 1000} s.`);
    } else if (code === 'lock-lost' || isNew(code + message)) logger[level](message);
  });
}
