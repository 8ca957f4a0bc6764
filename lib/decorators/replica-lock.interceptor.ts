import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { catchError, from, map, Observable } from 'rxjs';
import { responseTo } from './error-responses.js';
import { kindOf } from './handler-context.js';
import { handlerFrames } from './handler-frames.js';
import { HandlerInvocation } from './handler-invocation.js';
import { LOCKED_METHOD, type LockedMethod } from './locked-method.js';
import { ModuleServices } from './module-services.js';
import { ONCE_METHOD, onceFrames, type OnceMethod } from './once-method.js';

/**
 * Locks the handlers that `@ReplicaLocked` decorates, tells those of `@RunOnce` their request, and
 * turns the errors of locks into exceptions of the handler's context. Both decorators bind this
 * interceptor, so an application need not bind it. The interceptor runs after guards, so that a
 * refused caller never takes a lock, and before pipes.
 *
 * Bound to further handlers (`APP_INTERCEPTOR`), the interceptor turns the lock errors that their
 * own work throws into exceptions as well.
 */
@Injectable()
export class ReplicaLockInterceptor implements NestInterceptor {
  private readonly services: ModuleServices;

  constructor(modules: ModuleRef) {
    this.services = new ModuleServices(modules);
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const once = Reflect.getMetadata(ONCE_METHOD, context.getHandler()) as OnceMethod | undefined;
    // The method itself runs once, and needs the context for its key.
    const handler: CallHandler =
      once === undefined
        ? next
        : { handle: () => onceFrames.run({ method: once, context }, () => next.handle()) };
    const method = Reflect.getMetadata(LOCKED_METHOD, context.getHandler()) as LockedMethod | undefined;
    // If this interceptor is bound twice, the inner one finds the frame of the outer one.
    const isLocked = handlerFrames.getStore()?.handler.context === context;
    const result =
      method === undefined || isLocked ? handler.handle() : this.locked(context, handler, method);
    // A library called the handler through ExternalContextCreator, whose contexts are `http` by
    // default. There is no response to set headers on.
    const decorated = method ?? once;
    if (decorated !== undefined && kindOf(context) === 'other' && context.getType() === 'http') return result;
    return result.pipe(
      catchError((error: unknown) =>
        from(responseTo(context, error, this.services.exceptionFactoryOf(decorated?.instanceName))).pipe(
          map((answer) => {
            throw answer;
          }),
        ),
      ),
    );
  }

  private locked(context: ExecutionContext, next: CallHandler, method: LockedMethod): Observable<unknown> {
    return new Observable((subscriber) => {
      const invocation = new HandlerInvocation(
        method,
        context,
        this.services.serviceOf(method.instanceName),
        subscriber,
      );
      invocation.start(next);
      return () => invocation.leave();
    });
  }
}
