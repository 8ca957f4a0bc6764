import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { catchError, defer, from, map, type Observable } from 'rxjs';
import type { LockService } from '../lock/lock-service.js';
import { answerTo, type LockExceptionFactory } from './answers.js';
import { getExceptionFactoryToken, getLockServiceToken } from './inject-lock-service.js';
import { handlerFrames } from './lock-frames.js';
import type { LockedMethod } from './locked-method.js';
import { LOCKED_METHOD } from './locked-metadata.js';
import { lockedObservable } from './locked-observable.js';
import { outlastingFile, outlastingIterator } from './outlasting-result.js';

/**
 * Locks the handlers that `@ReplicaLocked` decorates, which binds it: after guards, so that a refused caller never locks, and before pipes. Answers a lock's
 * errors in the form of the handler's own context. Bound to more than that (`APP_INTERCEPTOR`), it answers those that any handler's own work throws, too.
 */
@Injectable()
export class ReplicaLockInterceptor implements NestInterceptor {
  constructor(private readonly modules: ModuleRef) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const handler = context.getHandler();
    const method = Reflect.getMetadata(LOCKED_METHOD, handler) as LockedMethod | undefined;
    const isLocked = handlerFrames.getStore()?.handler === handler;
    return (method === undefined || isLocked ? next.handle() : this.locked(context, next, method)).pipe(
      catchError((error: unknown) =>
        from(answerTo(context, error, this.exceptionFactory(method?.instanceName))).pipe(
          map((answer) => {
            throw answer;
          }),
        ),
      ),
    );
  }

  private locked(context: ExecutionContext, next: CallHandler, method: LockedMethod): Observable<unknown> {
    const handler = context.getHandler();
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
      context.getType<string>() === 'graphql' ? outlastingIterator : outlastingFile,
    );
  }

  private exceptionFactory(name: string | undefined): LockExceptionFactory | undefined {
    try {
      return this.modules.get(getExceptionFactoryToken(name), { strict: false });
    } catch {
      // All instances have names, and this handler asks for none.
      return undefined;
    }
  }
}
