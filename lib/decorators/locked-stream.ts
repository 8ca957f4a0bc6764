import { Observable, type Subscription } from 'rxjs';
import type { EnteredLock } from '../lock/lock-service.js';
import type { AsOutlasting, OutlastingResult } from './outlasting-result.js';

/** Nobody hears of it. */
const UNSUBSCRIBED = new Error('Nobody waits for the lock any more.');

/**
 * Takes the lock when somebody subscribes, and holds it until the work's stream completes, fails or is unsubscribed; where it hands out a result that
 * outlasts it, until that has ended. Unsubscribing while the lock is waited for ends the waiting.
 */
export function lockedStream<T>(
  enter: (onWaiting: (cancel: (reason: unknown) => void) => void) => Promise<EnteredLock>,
  work: (entered: EnteredLock) => Observable<T>,
  asOutlasting: AsOutlasting,
): Observable<T> {
  return new Observable<T>((subscriber) => {
    let cancel: ((reason: unknown) => void) | undefined;
    let inner: Subscription | undefined;
    let outlasting: OutlastingResult | undefined;
    let finish: ((failure?: unknown) => Promise<void>) | undefined;
    const begin = (entered: EnteredLock): void => {
      let finishing: Promise<void> | undefined;
      finish = (failure) => (finishing ??= entered.finish(failure));
      const fail = (error: unknown): void => subscriber.error(error);
      if (subscriber.closed) {
        void finish().catch(() => {});
        return;
      }
      inner = entered.run(() =>
        work(entered).subscribe({
          next: (value) => {
            const result = asOutlasting(value);
            outlasting ??= result;
            subscriber.next(result === undefined ? value : (result.value as T));
          },
          error: (error: unknown) => void finish?.(error).then(() => fail(error), fail),
          // With such a result the response has only begun.
          complete: () =>
            outlasting !== undefined
              ? subscriber.complete()
              : void finish?.().then(() => subscriber.complete(), fail),
        }),
      );
      // A source that emits at once can be unsubscribed before there is anything to unsubscribe.
      if (subscriber.closed) inner.unsubscribe();
    };
    enter((how) => (cancel = how)).then(begin, (error: unknown) => subscriber.error(error));
    return () => {
      cancel?.(UNSUBSCRIBED);
      inner?.unsubscribe();
      const release = (): void => void finish?.().catch(() => {});
      if (outlasting === undefined) release();
      else outlasting.onEnd(release);
    };
  });
}
