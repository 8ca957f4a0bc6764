import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { catchError, defer, throwError, type Observable } from 'rxjs';
import type { LockService } from '../lock/lock-service.js';
import { answerTo } from './answers.js';
import { getLockServiceToken } from './inject-lock-service.js';
import { handlerFrames } from './lock-frames.js';
import type { LockedMethod } from './locked-method.js';
import { LOCKED_METHOD } from './locked-metadata.js';
import { lockedObservable } from './locked-observable.js';

/**
 * Locks the handlers that `@ReplicaLocked` decorates, which binds it: after guards, so that a refused caller never locks, and before pipes. Answers a lock's
 * errors in the form of the handler's own context.
 */
@Injectable()
export class ReplicaLockInterceptor implements NestInterceptor {
  constructor(private readonly modules: ModuleRef) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const handler = context.getHandler();
    const method = Reflect.getMetadata(LOCKED_METHOD, handler) as LockedMethod | undefined;
    if (method === undefined) return next.handle();
    const service = this.modules.get<LockService>(getLockServiceToken(method.instanceName), {
      strict: false,
    });
    return lockedObservable(
      method,
      () => service,
      () => method.keysForHandler(context),
      ({ lock }) => {
        const frame = { handler, lock, isEntered: false };
        return defer(() => handlerFrames.run(frame, () => next.handle()));
      },
    ).pipe(catchError((error: unknown) => throwError(() => answerTo(context, error))));
  }
}
