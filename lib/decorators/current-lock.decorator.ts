import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { handlerFrames, LOCK_TO_COME } from './handler-frames.js';

/** Hands a handler that `@ReplicaLocked` decorates its `Lock`. */
export const CurrentLock: () => ParameterDecorator = createParamDecorator(
  (_: unknown, context: ExecutionContext) => {
    const frame = handlerFrames.getStore();
    if (frame !== undefined && frame.instance === undefined) return frame.handler.lock ?? LOCK_TO_COME;
    throw new Error(
      `@CurrentLock() on ${context.getClass().name}.${context.getHandler().name}: the handler is not decorated with @ReplicaLocked, ` +
        'or a decorator above that one lost its metadata. Put @ReplicaLocked on top.',
    );
  },
);
