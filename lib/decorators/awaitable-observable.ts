import { AsyncResource } from 'node:async_hooks';
import { setImmediate } from 'node:timers';
import { defer, mergeMap, Observable, type Operator } from 'rxjs';
import { asObservable } from './locked-subscription.js';

/**
 * The result of a locked method whose definition does not tell if a call returns a promise, an
 * Observable or an AsyncIterable. This result can be used as any of the three: the caller awaits,
 * subscribes or iterates, and the method is called accordingly. If the caller does none of that
 * until the next turn of the event loop, the method is called as if the result were awaited: a job
 * that no caller waits for is done as well.
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
    /** Whether the method itself was called. False, for example, if the lock was refused. */
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
    // The work belongs to the asynchronous context of the method's caller, and to the locks that
    // are held there, wherever the result is awaited.
    this.start = AsyncResource.bind(start);
    setImmediate(() => {
      if (!this.isStream && this.promise === undefined) this.startAlone();
    });
  }

  /**
   * Every operator calls `lift`: a result in a pipe is a stream, however late the subscriber comes.
   */
  override lift<R>(operator?: Operator<unknown, R>): Observable<R> {
    this.isStream = true;
    return super.lift(operator);
  }

  [Symbol.asyncIterator](): AsyncGenerator<unknown, unknown> {
    this.isStream = true;
    return this.iterate();
  }

  // oxlint-disable-next-line unicorn/no-thenable -- can be awaited like a promise
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

  /**
   * An error of the method becomes an unhandled rejection, as with any promise without a handler. A
   * refused lock does not: a later subscriber may ask for the lock again.
   */
  private startAlone(): void {
    this.settled().catch((error: unknown) => {
      if (this.wasCalled()) throw error;
      this.promise = undefined;
    });
  }
}
