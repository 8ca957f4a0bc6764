import { isDeepStrictEqual } from 'node:util';
import type { CallHandler, ExecutionContext } from '@nestjs/common';
import { defer, isObservable, mergeMap, Observable, type Subscriber } from 'rxjs';
import type { EnteredLock } from '../lock/entered-lock.js';
import type { LockKeys } from '../lock/keys.js';
import type { LockService } from '../lock/lock-service.js';
import type { Lock } from '../lock/lock.js';
import { streamingResultsOf } from './streaming-results.js';
import { resultWhenContended, type LockedMethod } from './locked-method.js';
import { enterLock, enterLockAnew } from './enter-lock.js';
import { argumentsWithLock } from './current-lock.decorator.js';
import { kindOf, type HandlerKind } from './handler-context.js';
import { takeGuardOutcome, type GuardOutcome } from './event-stream.guard.js';
import { handlerFrames, type LockedHandler, type Original } from './handler-frames.js';
import { lockedIterable } from './locked-iterable.js';
import { AwaitableObservable } from './awaitable-observable.js';
import { asObservable, LockedSubscription } from './locked-subscription.js';
import type { ResultKind } from './result-kind.js';

/**
 * Calls the method itself with these arguments, and names this invocation to `handlerFrames`. A
 * locked method that the method calls takes a lock of its own.
 */
type CallMethod = (args: unknown[]) => unknown;

/**
 * One invocation of a locked handler, from its interceptor on. If the raw request tells the keys,
 * the interceptor takes the lock: around the interceptors below, the pipes and the method. If only
 * the method's arguments tell the keys, the method takes the lock, around itself.
 */
export class HandlerInvocation extends LockedSubscription implements LockedHandler {
  private readonly kind: HandlerKind;
  private readonly keys: LockKeys | undefined;
  /** The lock that a guard took, or the refusal, before this invocation. */
  private readonly outcome: GuardOutcome | undefined;
  private entered: EnteredLock | undefined;
  /**
   * The lock that the method took and that its streaming result needs until the invocation ends.
   */
  private kept: { readonly keys: LockKeys; readonly entered: EnteredLock } | undefined;

  /** Throws `LockKeyError`. */
  constructor(
    method: LockedMethod,
    readonly context: ExecutionContext,
    service: LockService,
    subscriber: Subscriber<unknown>,
  ) {
    const kind = kindOf(context);
    super(method, () => service, subscriber, streamingResultsOf(kind, context));
    this.kind = kind;
    this.outcome = kind === 'http' ? takeGuardOutcome(context) : undefined;
    this.keys = this.outcome === undefined ? method.keys.beforeCall(context) : this.outcome.keys;
  }

  get lock(): Lock | undefined {
    return this.entered?.lock;
  }

  start(next: CallHandler): void {
    const below = (): Observable<unknown> =>
      handlerFrames.run({ handler: this, instance: undefined }, () => next.handle());
    const locked = (entered: EnteredLock): Observable<unknown> => {
      this.entered = entered;
      return below();
    };
    const { outcome } = this;
    if (outcome !== undefined && 'entered' in outcome) this.begin(outcome.entered, locked);
    else if (outcome !== undefined) this.refuse(outcome.refusal);
    else if (this.keys === undefined) this.subscribe(below);
    else void this.take(this.keys, locked);
  }

  call(instance: object, args: unknown[], original: Original, kind: ResultKind): unknown {
    const callMethod: CallMethod = (own) =>
      handlerFrames.run({ handler: this, instance }, () => original.apply(instance, own));
    // If the caller left before the method was called, the interceptor has given its lock back: the
    // method takes a lock of its own.
    if (this.entered !== undefined && !this.isEnded) {
      const { lock } = this.entered;
      return this.callUnderLock(() => callMethod(argumentsWithLock(this.method, args, lock)));
    }
    const called = (): Promise<unknown> => this.lockAndCall(args, callMethod);
    const streamed = (): Observable<unknown> => defer(called).pipe(mergeMap(asObservable));
    const iterated = (): AsyncGenerator<unknown, unknown> =>
      lockedIterable(
        this.method,
        (onWaiting) => this.ask(this.keysOf(args), onWaiting),
        ({ lock }) => callMethod(argumentsWithLock(this.method, args, lock)),
      );
    switch (kind) {
      case 'promise':
        return called();
      case 'observable':
        return streamed();
      case 'iterable':
        return iterated();
      default:
        return new AwaitableObservable(streamed, iterated, called, () => true);
    }
  }

  protected override async ask(
    keys: LockKeys,
    onWaiting: (cancel: (reason: unknown) => void) => void,
  ): Promise<EnteredLock> {
    const enter = this.kind === 'field' || this.kind === 'other' ? enterLock : enterLockAnew;
    return enter(this.service(), keys, this.method.options, onWaiting);
  }

  private async lockAndCall(args: unknown[], callMethod: CallMethod): Promise<unknown> {
    let keys: LockKeys;
    let entered: EnteredLock;
    try {
      keys = this.keysOf(args);
      entered = this.keptFor(keys) ?? (await this.enter(keys));
    } catch (error) {
      return resultWhenContended(this.method, error);
    }
    let result: unknown;
    try {
      result = await entered.run(() => callMethod(argumentsWithLock(this.method, args, entered.lock)));
    } catch (error) {
      await this.giveBack(entered, error);
      throw error;
    }
    // A result that is produced later keeps the lock until the invocation ends.
    if (isObservable(result)) {
      this.keep(keys, entered);
      return new Observable((subscriber) => entered.run(() => result.subscribe(subscriber)));
    }
    if (this.streaming.isStreaming(result)) this.keep(keys, entered);
    else await this.giveBack(entered);
    return result;
  }

  /** The lock that an earlier call keeps, if an interceptor (a retry) calls the method again. */
  private keptFor(keys: LockKeys): EnteredLock | undefined {
    const { kept } = this;
    return kept?.entered.lock.held === true && isDeepStrictEqual(kept.keys, keys) ? kept.entered : undefined;
  }

  private keep(keys: LockKeys, entered: EnteredLock): void {
    if (entered === this.kept?.entered) return;
    this.kept = { keys, entered };
    this.hold(entered);
  }

  private async giveBack(entered: EnteredLock, failure?: unknown): Promise<void> {
    if (entered !== this.kept?.entered) await entered.finish(failure);
  }

  private keysOf(args: unknown[]): LockKeys {
    return this.keys ?? this.method.keys.ofCall(args, this.context);
  }
}
