import { Observable, Subscriber, type Observer, type Operator, type Subscription } from 'rxjs';

/** Gets the error that a subscriber threw, and whether the error ended the subscription. */
export type OnSubscriberError = (error: unknown, hasEnded: boolean) => void;

/**
 * An Observable for the application's code. RxJS throws the error of a subscriber a second time
 * in a timer. No code can catch that error, so the process ends. Here `onError` gets the first
 * error of each subscriber. The same holds for a rejected promise that the subscriber returns, and
 * for an error that comes down a pipe to a subscriber without a handler.
 *
 * Observables that are piped from this one are guarded, too. For the result of `merge` and similar
 * functions the rule of RxJS holds.
 */
export class GuardedObservable<T> extends Observable<T> {
  constructor(
    source: Observable<unknown>,
    private readonly onError: OnSubscriberError,
    operator?: Operator<unknown, T>,
  ) {
    super();
    // As RxJS' own Subject lifts operators.
    this.source = source;
    this.operator = operator;
  }

  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    return new GuardedObservable<R>(this, this.onError, operator);
  }

  override subscribe(
    observerOrNext?: Partial<Observer<T>> | ((value: T) => void) | null,
    error?: ((reason: unknown) => void) | null,
    complete?: (() => void) | null,
  ): Subscription {
    if (isSubscriber(observerOrNext)) return super.subscribe(observerOrNext);
    const observer =
      typeof observerOrNext === 'object' && observerOrNext !== null
        ? observerOrNext
        : { next: observerOrNext, error, complete };
    return super.subscribe(this.guarded(observer));
  }

  private guarded(observer: Loose<T>): Observer<T> {
    let hasFailed = false;
    const report = (reason: unknown, hasEnded: boolean): void => {
      if (hasFailed) return;
      // Set first: a subscriber of reports also gets the report of that subscriber's failure.
      hasFailed = true;
      this.onError(reason, hasEnded);
    };
    const run = (work: () => unknown, hasEnded: boolean): void => {
      try {
        const result = work() as PromiseLike<unknown> | undefined;
        if (typeof result?.then === 'function') result.then(undefined, (reason) => report(reason, hasEnded));
      } catch (reason) {
        report(reason, hasEnded);
      }
    };
    return {
      next: (value) => run(() => observer.next?.(value), false),
      error: (reason) => {
        if (typeof observer.error === 'function') run(() => observer.error?.(reason), true);
        else report(reason, true);
      },
      complete: () => run(() => observer.complete?.(), true),
    };
  }
}

/** Handlers may be left out, and may return anything. */
interface Loose<T> {
  next?: ((value: T) => unknown) | null | undefined;
  error?: ((reason: unknown) => unknown) | null | undefined;
  complete?: (() => unknown) | null | undefined;
}

/**
 * True for the subscribers of operators, whose errors go on down the pipe. Another copy of RxJS may
 * have made them.
 */
function isSubscriber<T>(value: unknown): value is Subscriber<T> {
  if (value instanceof Subscriber) return true;
  const { next, add, remove } = (value ?? {}) as Record<string, unknown>;
  return [next, add, remove].every((member) => typeof member === 'function');
}
