import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { catchError, from, map, Observable } from 'rxjs';
import { responseTo } from './error-responses.js';
import { kindOf } from './handler-context.js';
import { handlerFrames } from './handler-frames.js';
import { HandlerInvocation } from './handler-invocation.js';
import { LOCKED_METHOD, type LockedMethod } from './locked-method.js';
import { ModuleServices } from './module-services.js';

/**
 * Locks the handlers that `@ReplicaLocked` decorates, which binds it: after guards, so that a refused caller never locks, and before pipes. Answers a lock's
 * errors in the form of the handler's own context. Bound to more than that (`APP_INTERCEPTOR`), it answers those that any handler's own work throws, too.
 */
@Injectable()
export class ReplicaLockInterceptor implements NestInterceptor {
  private readonly services: ModuleServices;

  constructor(modules: ModuleRef) {
    this.services = new ModuleServices(modules);
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const method = Reflect.getMetadata(LOCKED_METHOD, context.getHandler()) as LockedMethod | undefined;
    // Bound twice, the inner one finds the lock of the outer one.
    const isLocked = handlerFrames.getStore()?.handler.context === context;
    const result = method === undefined || isLocked ? next.handle() : this.locked(context, next, method);
    // A library's own caller, which ExternalContextCreator calls one of HTTP by default: there is no response to answer with.
    if (method !== undefined && kindOf(context) === 'other' && context.getType() === 'http') return result;
    return result.pipe(
      catchError((error: unknown) =>
        from(responseTo(context, error, this.services.exceptionFactoryOf(method?.instanceName))).pipe(
          map((answer) => {
            throw answer;
          }),
        ),
      ),
    );
  }

  private locked(context: ExecutionContext, next: CallHandler, method: LockedMethod): Observable<unknown> {
    return new Observable((subscriber) => {
      const run = new HandlerInvocation(
        method,
        context,
        this.services.serviceOf(method.instanceName),
        subscriber,
      );
      run.start(next);
      return () => run.leave();
    });
  }
}
