import { catchError, defer, from, isObservable, of, type Observable } from 'rxjs';
import type { EnteredLock, LockKeys, LockService } from '../lock/lock-service.js';
import { resultWhenContended } from './contention.js';
import type { LockedMethod } from './locked-method.js';
import { lockedStream } from './locked-stream.js';
import { outlastingFile, type AsOutlasting } from './outlasting-result.js';

/** The stream of a locked method's work; where the lock stays busy, what the method makes of that. */
export function lockedObservable(
  method: LockedMethod,
  service: () => LockService,
  keys: () => LockKeys,
  work: (entered: EnteredLock) => Observable<unknown>,
  asOutlasting: AsOutlasting = outlastingFile,
): Observable<unknown> {
  return defer(() => {
    let hasBegun = false;
    return lockedStream(
      async (onWaiting) => service().enter(keys(), method.options, onWaiting),
      (entered) => {
        hasBegun = true;
        return work(entered);
      },
      asOutlasting,
    ).pipe(
      catchError((error: unknown) => {
        // A contended lock inside the work is the work's own affair.
        if (hasBegun) throw error;
        const result = resultWhenContended(method, error);
        return isObservable(result) ? result : result instanceof Promise ? from(result) : of(result);
      }),
    );
  });
}
