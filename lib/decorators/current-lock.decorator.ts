import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { Lock } from '../lock/lock.js';
import { handlerFrames, LOCK_TO_COME } from './handler-frames.js';
import { LOCKED_METHOD, type LockedMethod } from './locked-method.js';
import { ONCE_METHOD } from './once-method.js';

/**
 * Finds the lock for the argument when Nest calls a handler. A method that is known to be locked
 * puts the lock in itself, after the pipes: a pipe that validates the arguments of custom
 * decorators as well would try to copy the lock.
 */
function lockOfHandler(_: unknown, context: ExecutionContext): unknown {
  const handler = context.getHandler();
  if (Reflect.hasMetadata(LOCKED_METHOD, handler) || Reflect.hasMetadata(ONCE_METHOD, handler))
    return undefined;
  const frame = handlerFrames.getStore();
  if (frame !== undefined && frame.instance === undefined) return frame.handler.lock ?? LOCK_TO_COME;
  throw new Error(
    `@CurrentLock() on ${context.getClass().name}.${context.getHandler().name}: the handler is not decorated with @ReplicaLocked, ` +
      'or a decorator above that one lost its metadata. Put @ReplicaLocked on top.',
  );
}

/**
 * Parameter decorator: gives a method that `@ReplicaLocked` or `@RunOnce` decorates its `Lock`. A
 * direct call of the method may leave the argument out.
 * @throws Error when Nest calls a handler that is not locked.
 * @example
 * ```ts
 * @Post('orders/:id/pay')
 * @ReplicaLocked('order:{params.id}')
 * async pay(@Param('id') id: string, @CurrentLock() lock: Lock) {
 *   await this.payments.charge(id, { fencingToken: lock.fencingToken, signal: lock.signal });
 * }
 * ```
 */
export const CurrentLock: () => ParameterDecorator = createParamDecorator(lockOfHandler);

type WithDecorators = Pick<LockedMethod, 'decorators'>;

/**
 * A handler's arguments with the lock for `@CurrentLock()`, in place of whatever pipes made of it.
 */
export function argumentsWithLock({ decorators }: WithDecorators, args: unknown[], lock: Lock): unknown[] {
  const index = decorators.indexOf(lockOfHandler);
  if (index === undefined) return args;
  const own = [...args];
  own[index] = lock;
  return own;
}

/** The arguments of a direct call, with the lock for `@CurrentLock()` if the caller gave none. */
export function argumentsWithMissingLock(method: WithDecorators, args: unknown[], lock: Lock): unknown[] {
  const index = method.decorators.indexOf(lockOfHandler);
  return index === undefined || args[index] !== undefined ? args : argumentsWithLock(method, args, lock);
}
