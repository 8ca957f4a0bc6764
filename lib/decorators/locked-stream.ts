import { StreamableFile } from '@nestjs/common';
import { Observable, type Subscription } from 'rxjs';
import type { EnteredLock } from '../lock/lock-service.js';

/**
 * Takes the lock when somebody subscribes, and holds it until the work's stream completes, fails or is unsubscribed; a file that it hands out, until
 * that is sent. Unsubscribing while the lock is waited for ends the waiting.
 */
export function lockedStream<T>(
  enter: (signal: AbortSignal) => Promise<EnteredLock>,
  work: (entered: EnteredLock) => Observable<T>,
): Observable<T> {
  return new Observable<T>((subscriber) => {
    const waiting = new AbortController();
    let inner: Subscription | undefined;
    let file: StreamableFile | undefined;
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
            if (value instanceof StreamableFile) file = value;
            subscriber.next(value);
          },
          error: (error: unknown) => void finish?.(error).then(() => fail(error), fail),
          // With a file the response has only begun.
          complete: () =>
            file !== undefined
              ? subscriber.complete()
              : void finish?.().then(() => subscriber.complete(), fail),
        }),
      );
    };
    enter(waiting.signal).then(begin, (error: unknown) => subscriber.error(error));
    return () => {
      waiting.abort();
      inner?.unsubscribe();
      const release = (): void => void finish?.().catch(() => {});
      const stream = file?.getStream();
      if (stream === undefined || stream.closed || stream.destroyed) release();
      else stream.once('close', release);
    };
  });
}
