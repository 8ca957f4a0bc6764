import { from, isObservable, of, type Observable, type Subscriber, type Subscription } from 'rxjs';
import type { EnteredLock } from '../lock/entered-lock.js';
import type { LockKeys } from '../lock/keys.js';
import type { LockService } from '../lock/lock-service.js';
import { isThenable, type StreamingResults } from './streaming-results.js';
import { resultWhenContended, type LockedMethod } from './locked-method.js';
import { enterLock } from './enter-lock.js';

/** Ends the wait for a lock whose caller has gone. The rejection reaches no caller. */
export const GONE = new Error('The caller has gone and does not wait for the lock any more.');

type Stage =
  /** The method has not been called. */
  | 'before the call'
  /** The method's promise has not settled, or interceptors work on its value. */
  | 'at work'
  /** A value was handed out, or an Observable was returned: the rest can be cut short. */
  | 'streaming'
  /** Nothing more comes from the method or the interceptors. */
  | 'ended';

/**
 * One subscription to locked work, and the rule when its lock is released. Three things keep the
 * lock:
 * - the work's promise, until it has settled, even if the subscriber has gone;
 * - an Observable, until it has ended or was unsubscribed;
 * - every streaming result that was handed out, until the result was produced.
 */
export class LockedSubscription {
  private readonly held: EnteredLock[] = [];
  private finishing: Promise<void> | undefined;
  private readonly cancels = new Set<() => void>();
  private inner: Subscription | undefined;
  private stage: Stage = 'before the call';
  private isGone = false;
  /** The promise of the method, until it has settled. */
  private unsettled: Promise<unknown> | undefined;
  /** The number of streaming results that were handed out and have not ended. */
  private streams = 0;

  constructor(
    readonly method: LockedMethod,
    protected readonly service: () => LockService,
    private readonly subscriber: Subscriber<unknown>,
    protected readonly streaming: StreamingResults,
  ) {}

  /**
   * Takes the lock, then subscribes to the work under the lock. If the lock stays busy, the
   * method's `onContended` decides the result.
   */
  async take(keys: LockKeys, work: (entered: EnteredLock) => Observable<unknown>): Promise<void> {
    let entered: EnteredLock;
    try {
      entered = await this.enter(keys);
    } catch (error) {
      if (error !== GONE) this.refuse(error);
      return;
    }
    this.begin(entered, work);
  }

  /** Subscribes to the work under a lock that is held already. */
  protected begin(entered: EnteredLock, work: (entered: EnteredLock) => Observable<unknown>): void {
    this.hold(entered);
    entered.run(() => this.subscribe(() => work(entered)));
  }

  /**
   * Subscribes to the work: the method's Observable, or the interceptors and the handler below this
   * one.
   */
  subscribe(work: () => Observable<unknown>): void {
    try {
      this.inner = work().subscribe({
        next: (value) => this.onValue(value),
        error: (error: unknown) => this.onError(error),
        complete: () => this.onComplete(),
      });
    } catch (error) {
      this.onError(error);
    }
    // A synchronous source may have ended the work before `subscribe` returned the subscription.
    if (this.isEnded) this.inner?.unsubscribe();
  }

  /** Calls the method itself under the lock that is held already. */
  callUnderLock(call: () => unknown): unknown {
    // An interceptor retries for a caller that has gone.
    if (this.isGone) {
      if (this.unsettled === undefined) this.stop();
      throw GONE;
    }
    // An interceptor calls again (a timeout with a retry) before the last call has settled: the
    // calls run one after the other.
    if (this.unsettled !== undefined) {
      const again = (): unknown => this.callUnderLock(call);
      return this.unsettled.then(again, again);
    }
    this.stage = 'at work';
    const result = call();
    if (isThenable(result)) return (this.unsettled = this.untilSettled(result));
    if (isObservable(result)) this.becomeStream();
    return result;
  }

  /** Called when the subscriber has gone, or has received everything. */
  leave(): void {
    this.isGone = true;
    for (const cancel of this.cancels) cancel();
    if (!this.isBusy) this.stop();
  }

  /**
   * Takes a lock. When the subscriber leaves, the wait ends; a lock that is granted nevertheless is
   * given back.
   */
  protected async enter(keys: LockKeys): Promise<EnteredLock> {
    let endWait: ((reason: unknown) => void) | undefined;
    let isCancelled = false;
    const cancel = (): void => {
      isCancelled = true;
      endWait?.(GONE);
    };
    this.cancels.add(cancel);
    try {
      const entered = await this.ask(keys, (end) => (endWait = end));
      if (!isCancelled) return entered;
      await entered.finish().catch(() => {});
      throw GONE;
    } finally {
      this.cancels.delete(cancel);
    }
  }

  /** Asks the service for the lock. `onWaiting` receives a function that ends the wait. */
  protected async ask(
    keys: LockKeys,
    onWaiting: (cancel: (reason: unknown) => void) => void,
  ): Promise<EnteredLock> {
    return enterLock(this.service(), keys, this.method.options, onWaiting);
  }

  /** Keeps the lock until this subscription is over. */
  protected hold(entered: EnteredLock): void {
    if (this.finishing === undefined) this.held.push(entered);
    else entered.finish().catch(() => {});
  }

  protected get isEnded(): boolean {
    return this.stage === 'ended';
  }

  /** Called if the lock stayed busy or cannot be taken: `onContended` decides the result. */
  protected refuse(error: unknown): void {
    try {
      asObservable(resultWhenContended(this.method, error)).subscribe(this.subscriber);
    } catch (refusal) {
      this.subscriber.error(refusal);
    }
  }

  private async untilSettled(result: PromiseLike<unknown>): Promise<unknown> {
    try {
      const value = await result;
      if (isObservable(value)) this.stage = 'streaming';
      return value;
    } finally {
      this.unsettled = undefined;
      if (this.isGone && !this.isBusy) this.stop();
    }
  }

  private becomeStream(): void {
    this.stage = 'streaming';
    if (this.isGone && !this.isBusy) this.stop();
  }

  /** If true, work would go on without the lock if the lock were released now. */
  private get isBusy(): boolean {
    return this.unsettled !== undefined || this.stage === 'at work';
  }

  private onValue(value: unknown): void {
    this.stage = 'streaming';
    const streaming = this.streaming.watch(value, (step) => this.held[0]?.run(step) ?? step());
    if (streaming !== undefined) {
      this.streams++;
      streaming.onEnd(() => this.onStreamEnd());
    }
    if (!this.isGone) this.subscriber.next(streaming === undefined ? value : streaming.value);
    else {
      streaming?.cancel();
      if (!this.isBusy) this.stop();
    }
  }

  private onStreamEnd(): void {
    if (--this.streams === 0 && this.isEnded) this.finishQuietly();
  }

  private onError(error: unknown): void {
    this.stage = 'ended';
    const fail = (reason: unknown): void => this.subscriber.error(reason);
    // An interceptor, for example a timeout, failed the call before the method's promise settled.
    // The lock is held until the promise settles.
    if (this.unsettled !== undefined) fail(error);
    else this.finish(error).then(() => fail(error), fail);
  }

  private onComplete(): void {
    this.stage = 'ended';
    // The response has only begun, or an interceptor did not wait for the method.
    if (this.streams > 0 || this.unsettled !== undefined) this.subscriber.complete();
    else
      this.finish().then(
        () => this.subscriber.complete(),
        (loss: unknown) => this.subscriber.error(loss),
      );
  }

  private stop(): void {
    this.stage = 'ended';
    this.inner?.unsubscribe();
    if (this.streams === 0) this.finishQuietly();
  }

  /** Ignores a lost lock: no caller is left to receive the error, and the log reports the loss. */
  private finishQuietly(): void {
    this.finish().catch(() => {});
  }

  private finish(failure?: unknown): Promise<void> {
    return (this.finishing ??= this.finishAll(failure));
  }

  private async finishAll(failure: unknown): Promise<void> {
    const ends = await Promise.allSettled(this.held.map((entered) => entered.finish(failure)));
    const loss = ends.find((end) => end.status === 'rejected');
    if (loss !== undefined) throw loss.reason;
  }
}

/**
 * A result as a stream: the values of an Observable, the value of a promise, or the result itself.
 */
export function asObservable(result: unknown): Observable<unknown> {
  if (isThenable(result)) return from(result);
  return isObservable(result) ? result : of(result);
}
