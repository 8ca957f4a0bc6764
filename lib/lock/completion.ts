import { EMPTY, from, fromEvent, isObservable, lastValueFrom, takeUntil, type Observable } from 'rxjs';

/**
 * Resolves when the result of work has been produced completely. An Observable is subscribed to,
 * and an async generator is run to its end: neither does anything before. Resolves with the last
 * value of the Observable, the return value of the generator, or the result itself. `signal` ends
 * both early.
 */
export async function completionOf(result: unknown, signal?: AbortSignal): Promise<unknown> {
  const value = await result;
  if (isObservable(value)) return lastValueOf(value, signal);
  return isAsyncGenerator(value) ? returnValueOf(value, signal) : value;
}

function lastValueOf(source: Observable<unknown>, signal?: AbortSignal): Promise<unknown> {
  const options = { defaultValue: undefined };
  if (signal === undefined) return lastValueFrom(from(source), options);
  const untilAborted = from(source).pipe(takeUntil(fromEvent(signal, 'abort')));
  return lastValueFrom(signal.aborted ? EMPTY : untilAborted, options);
}

async function returnValueOf(generator: AsyncGenerator, signal?: AbortSignal): Promise<unknown> {
  // Takes effect at the next `yield`. The generator hears of the signal by itself before.
  const onAbort = (): void => void generator.return(undefined).catch(() => {});
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted === true) onAbort();
  try {
    for (;;) {
      const { done, value } = await generator.next();
      if (done === true) return value;
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Compilers replace generators by objects, so the methods tell. A stream or a cursor is a value. */
export function isAsyncGenerator(value: unknown): value is AsyncGenerator {
  if (typeof value !== 'object' || value === null) return false;
  const members = value as Record<PropertyKey, unknown>;
  return [Symbol.asyncIterator, 'next', 'return', 'throw'].every(
    (name) => typeof members[name] === 'function',
  );
}
