import { LockContendedError, LockServiceClosedError } from '../lock/errors.js';
import type { LockedMethod } from './locked-method.js';

/** What a method makes of a lock that stayed busy; any other failure is thrown on. */
export function resultWhenContended({ onContended }: LockedMethod, error: unknown): unknown {
  // A job that skips a tick skips those of a shutdown, too: schedulers go on firing until its end.
  if (error instanceof LockServiceClosedError && onContended === 'skip') return undefined;
  if (!(error instanceof LockContendedError) || onContended === 'throw') throw error;
  return onContended === 'skip' ? undefined : onContended(error);
}
