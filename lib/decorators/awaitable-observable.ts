import { AsyncResource } from 'node:async_hooks';
import { setImmediate } from 'node:timers';
import { defer, mergeMap, Observable, type Operator } from 'rxjs';
import { asObservable } from './locked-subscription.js';

/**
 * What a locked method returns if only its call shows whether it gives a promise, an Observable or an AsyncIterable: all of them. A caller that awaits it gets the promise, a
 * caller that subscribes the stream, a caller that iterates the steps. If none of that happens, the promise starts by itself: a job that no caller waits for is done all the same.
 */
export class AwaitableObservable
  extends Observable<unknown>
  implements PromiseLike<unknown>, AsyncIterable<unknown>
{
  private promise: Promise<unknown> | undefined;
  private isStream = false;
  private readonly start: () => Promise<unknown>;

  constructor(
    stream: () => Observable<unknown>,
    private readonly iterate: () => AsyncGenerator<unknown, unknown>,
    start: () => Promise<unknown>,
    /** False while it may still be an Observable whose subscriber comes later. */
    private readonly wasCalled: () => boolean,
  ) {
    super((subscriber) => {
      this.isStream = true;
      const { promise } = this;
      const source =
        promise === undefined
          ? stream()
          : defer(() => promise).pipe(mergeMap((result) => asObservable(result)));
      return source.subscribe(subscriber);
    });
    // Whoever awaits it later, the work belongs to where the method was called, and to the locks that are held there.
    this.start = AsyncResource.bind(start);
    setImmediate(() => {
      if (!this.isStream && this.promise === undefined) this.startAlone();
    });
  }

  /** Every operator begins with this: what stands in a pipe is a stream, whenever it is subscribed to. */
  override lift<R>(operator?: Operator<unknown, R>): Observable<R> {
    this.isStream = true;
    return super.lift(operator);
  }

  [Symbol.asyncIterator](): AsyncGenerator<unknown, unknown> {
    this.isStream = true;
    return this.iterate();
  }

  // oxlint-disable-next-line unicorn/no-thenable -- it stands for a promise
  then<T = unknown, F = never>(
    onFulfilled?: ((value: unknown) => T | PromiseLike<T>) | null,
    onRejected?: ((reason: unknown) => F | PromiseLike<F>) | null,
  ): Promise<T | F> {
    return this.settled().then(onFulfilled, onRejected);
  }

  catch<F>(onRejected?: ((reason: unknown) => F | PromiseLike<F>) | null): Promise<unknown> {
    return this.settled().catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<unknown> {
    return this.settled().finally(onFinally);
  }

  private settled(): Promise<unknown> {
    return (this.promise ??= this.start());
  }

  /** A failure of the method reaches no handler, as that of any promise that is left alone. A lock that was refused may be asked for again by a later subscriber. */
  private startAlone(): void {
    this.settled().catch((error: unknown) => {
      if (this.wasCalled()) throw error;
      this.promise = undefined;
    });
  }
}
