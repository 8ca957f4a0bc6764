import type { CanActivate, ExecutionContext } from '@nestjs/common';
import type { EnteredLock } from '../lock/entered-lock.js';
import type { LockKeys } from '../lock/keys.js';
import { enterLockAnew } from './enter-lock.js';
import { LOCKED_METHOD, type LockedMethod } from './locked-method.js';
import { GONE } from './locked-subscription.js';
import type { ModuleServices } from './module-services.js';

/** Nest's names of its own metadata. */
const SSE = '__sse__';
const GUARDS = '__guards__';

/** What came of taking the lock for a request. */
export type Outcome =
  | { readonly keys: LockKeys; readonly entered: EnteredLock }
  | { readonly keys: undefined; readonly refusal: unknown };

/** What the guard hands on to the interceptor of the same request. */
const outcomes = new WeakMap<object, Outcome>();

/**
 * Takes the lock of an `@Sse` handler, or waits until it is refused, and lets the request pass to
 * the interceptors either way. Nest sends the status 200 of an event stream one turn of the event
 * loop after it asked the interceptors, so an interceptor that waited for the lock itself could not
 * answer 409. An EventSource gives up at 409, and comes again after a stream that ends at once.
 */
export class EventStreamGuard implements CanActivate {
  constructor(private readonly services: ModuleServices) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<object>();
    const outcome = await this.take(context).catch((refusal: unknown) => ({ keys: undefined, refusal }));
    if (outcome === undefined) return true;
    outcomes.set(request, outcome);
    onResponseEnd(context, () => {
      // A client that left before the interceptor was asked.
      if (outcomes.delete(request) && 'entered' in outcome) outcome.entered.finish().catch(() => {});
    });
    return true;
  }

  /** Undefined if only the method's arguments tell the keys. */
  private async take(context: ExecutionContext): Promise<Outcome | undefined> {
    const method = Reflect.getMetadata(LOCKED_METHOD, context.getHandler()) as LockedMethod;
    const keys = method.keys.beforeCall(context);
    if (keys === undefined) return undefined;
    let endWait: ((reason: unknown) => void) | undefined;
    onResponseEnd(context, () => endWait?.(GONE));
    const service = this.services.serviceOf(method.instanceName);
    const entered = await enterLockAnew(service, keys, method.options, (end) => (endWait = end));
    return { keys, entered };
  }
}

/** What the guard did for this request; undefined if it did nothing. A lock is the caller's from now on. */
export function claimOutcome(context: ExecutionContext): Outcome | undefined {
  const request = context.switchToHttp().getRequest<object | undefined>();
  if (typeof request !== 'object' || request === null) return undefined;
  const outcome = outcomes.get(request);
  outcomes.delete(request);
  return outcome;
}

/** Puts the guard behind all other guards of a locked `@Sse` handler. */
export function guardEventStream(handler: object, guard: EventStreamGuard): void {
  if (Reflect.getMetadata(SSE, handler) !== true) return;
  const guards = (Reflect.getMetadata(GUARDS, handler) ?? []) as readonly unknown[];
  // Another application in this process may have the same controller.
  const others = guards.filter((each) => !(each instanceof EventStreamGuard));
  Reflect.defineMetadata(GUARDS, [...others, guard], handler);
}

interface ResponseLike {
  readonly raw?: ResponseLike;
  readonly closed?: boolean;
  once(event: 'close', listener: () => void): unknown;
}

/** Runs this once the response is over, whether it was sent or the client has left. */
function onResponseEnd(context: ExecutionContext, run: () => void): void {
  const response = context.switchToHttp().getResponse<ResponseLike>();
  const raw = response.raw ?? response;
  if (raw.closed === true) run();
  else raw.once('close', run);
}
