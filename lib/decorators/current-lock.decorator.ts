import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { handlerFrames } from './lock-frames.js';

/** Hands a handler that `@ReplicaLocked` decorates its `Lock`. */
export const CurrentLock: () => ParameterDecorator = createParamDecorator(
  (_: unknown, context: ExecutionContext) => {
    const lock = handlerFrames.getStore()?.lock;
    if (lock !== undefined) return lock;
    throw new Error(
      `@CurrentLock() on ${context.getClass().name}.${context.getHandler().name}: the handler is not decorated with @ReplicaLocked.`,
    );
  },
);
