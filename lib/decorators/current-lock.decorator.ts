import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { handlerFrames, LOCK_TO_COME } from './handler-frames.js';
import { LOCKED_METHOD } from './locked-metadata.js';

/**
 * Finds the lock for the argument when Nest calls a handler. A method that is known to be locked fills
 * the argument in itself, behind the pipes: one that validates custom decorators, too, would try to
 * copy the lock.
 */
export function lockOfHandler(_: unknown, context: ExecutionContext): unknown {
  if (Reflect.hasMetadata(LOCKED_METHOD, context.getHandler())) return undefined;
  const frame = handlerFrames.getStore();
  if (frame !== undefined && frame.instance === undefined) return frame.handler.lock ?? LOCK_TO_COME;
  throw new Error(
    `@CurrentLock() on ${context.getClass().name}.${context.getHandler().name}: the handler is not decorated with @ReplicaLocked, ` +
      'or a decorator above that one lost its metadata. Put @ReplicaLocked on top.',
  );
}

/** Hands a handler that `@ReplicaLocked` decorates its `Lock`, also if the handler is called directly without one. */
export const CurrentLock: () => ParameterDecorator = createParamDecorator(lockOfHandler);
