import type { CanActivate, ExecutionContext } from '@nestjs/common';
import type { EnteredLock } from '../lock/entered-lock.js';
import type { LockKeys } from '../lock/keys.js';
import { enterLockAnew } from './enter-lock.js';
import { LOCKED_METHOD, type LockedMethod } from './locked-method.js';
import { GONE } from './locked-subscription.js';
import type { ModuleServices } from './module-services.js';

/** Nest's names for the metadata of `@Sse` and `@UseGuards`. */
const SSE = '__sse__';
const GUARDS = '__guards__';

/** The result of taking the lock for a request: the lock with its keys, or why there is none. */
export type GuardOutcome =
  | { readonly keys: LockKeys; readonly entered: EnteredLock }
  | { readonly keys: undefined; readonly refusal: unknown };

/** The outcomes that the guard leaves for the interceptor, by request. */
const outcomes = new WeakMap<object, GuardOutcome>();

/**
 * Takes the lock of an `@Sse` handler before the interceptors run, and lets the request pass with
 * the lock or with the refusal. Nest sends the status 200 of an event stream one turn of the event
 * loop after the interceptors were called: an interceptor that waited for the lock could not answer
 * 409 any more. The difference matters: an EventSource gives up at 409, but reconnects after a
 * stream that ends at once.
 */
export class EventStreamGuard implements CanActivate {
  constructor(private readonly services: ModuleServices) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<object>();
    const outcome = await this.take(context).catch((refusal: unknown) => ({ keys: undefined, refusal }));
    if (outcome === undefined) return true;
    outcomes.set(request, outcome);
    onResponseEnd(context, () => {
      // The client left before the interceptor took over the lock.
      if (outcomes.delete(request) && 'entered' in outcome) outcome.entered.finish().catch(() => {});
    });
    return true;
  }

  /** Undefined if only the method's call tells the keys. */
  private async take(context: ExecutionContext): Promise<GuardOutcome | undefined> {
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

/**
 * The outcome that the guard left for this request; undefined if the guard did nothing. The caller
 * owns the lock from now on.
 */
export function takeGuardOutcome(context: ExecutionContext): GuardOutcome | undefined {
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
  // Another application in this process may have put its own guard on the same controller.
  const others = guards.filter((each) => !(each instanceof EventStreamGuard));
  Reflect.defineMetadata(GUARDS, [...others, guard], handler);
}

interface ResponseLike {
  readonly raw?: ResponseLike;
  readonly closed?: boolean;
  once(event: 'close', listener: () => void): unknown;
}

/** Calls `run` once the response was sent or the client has left. */
function onResponseEnd(context: ExecutionContext, run: () => void): void {
  const response = context.switchToHttp().getResponse<ResponseLike>();
  const raw = response.raw ?? response;
  if (raw.closed === true) run();
  else raw.once('close', run);
}
