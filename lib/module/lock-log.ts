import type { LoggerService } from '@nestjs/common';
import { filter } from 'rxjs';
import type { LockService } from '../lock/lock-service.js';

/** ms in which one kind of warning is written once. */
const QUIET_TIME = 10_000;

/** Writes what an operator should know: the store's reports, lost locks and refused confirmations. Nothing per acquisition, and no flood. */
export function logLocks(service: LockService, logger: LoggerService): void {
  const lastAt = new Map<string, number>();
  const isNew = (code: string): boolean => {
    const now = performance.now();
    if (now - (lastAt.get(code) ?? -Infinity) < QUIET_TIME) return false;
    lastAt.set(code, now);
    return true;
  };
  service.reports
    .pipe(filter(({ code, message }) => isNew(code + message)))
    .subscribe(({ level, message }) => {
      logger[level](message);
    });
  service.events.subscribe((event) => {
    if (event.type === 'lost') logger.error(event.error.message);
    else if (event.type === 'released' && !event.answered && isNew('unanswered')) {
      logger.warn(
        `The release of '${event.keys.join("', '")}' was not answered yet: Redis is told again until the lease has passed. Further ones are not logged for ${QUIET_TIME / 1000} s.`,
      );
    } else if (event.type === 'unconfirmed' && isNew('unconfirmed')) {
      logger.warn(`${event.error.message} Further ones are not logged for ${QUIET_TIME / 1000} s.`);
    }
  });
}
