import {
  type CallHandler,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  type PipeTransform,
  RequestTimeoutException,
} from '@nestjs/common';
import {
  firstValueFrom,
  from,
  map,
  mergeMap,
  NEVER,
  type Observable,
  race,
  retry,
  Subject,
  take,
  takeUntil,
} from 'rxjs';
import { Gates } from './apps.js';

/** Opened by the test: `commit`, `again`, `pipe`, and the gates of its handlers. */
export const gates = new Gates();
export const timeIsUp = new Subject<void>();

/** The TimeoutInterceptor of Nest's documentation. The test decides when the time is up. */
@Injectable()
export class Timeout implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    const timeout = timeIsUp.pipe(
      map(() => {
        throw new RequestTimeoutException();
      }),
    );
    return next.handle().pipe(takeUntil(timeout));
  }
}

export const patienceEnds = new Subject<void>();

/** Gives up a handler that takes too long, with a failure. */
@Injectable()
export class GivingUp implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    const timeout = patienceEnds.pipe(
      map(() => {
        throw new RequestTimeoutException();
      }),
    );
    return next.handle().pipe(takeUntil(timeout));
  }
}

/** Answers with a value of its own if the handler takes too long. */
@Injectable()
export class Substituting implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return race(next.handle(), patienceEnds.pipe(map(() => 'not yet'))).pipe(take(1));
  }
}

/** Gives up a try that takes too long, and starts another try. */
@Injectable()
export class TryingAnew implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new GivingUp().intercept(context, next).pipe(retry(1));
  }
}

/** Does as `GivingUp` does, as a decorator of the method. */
export function Impatient(): MethodDecorator {
  return (_target, _property, descriptor: PropertyDescriptor) => {
    const original = descriptor.value as (...args: unknown[]) => Promise<unknown>;
    const wrapped = function (this: unknown, ...args: unknown[]): Promise<unknown> {
      return Promise.race([original.apply(this, args), firstValueFrom(patienceEnds)]);
    };
    for (const key of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, original), wrapped);
    }
    descriptor.value = wrapped;
  };
}

/** Commits the handler's work, as an interceptor with a transaction does. */
@Injectable()
export class Committing implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next
      .handle()
      .pipe(mergeMap((value: unknown) => from(gates.of('commit').passed).pipe(map(() => value))));
  }
}

/** Does the same as a decorator of the method. */
export function Transactional(): MethodDecorator {
  return (_target, _property, descriptor: PropertyDescriptor) => {
    const original = descriptor.value as (...args: unknown[]) => Promise<unknown>;
    const wrapped = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
      const result = await original.apply(this, args);
      await gates.of('commit').passed;
      return result;
    };
    for (const key of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, original), wrapped);
    }
    descriptor.value = wrapped;
  };
}

@Injectable()
export class TryingAgain implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(retry({ delay: () => gates.of('again').passed }));
  }
}

@Injectable()
export class Silent implements NestInterceptor {
  intercept(): Observable<unknown> {
    return NEVER;
  }
}

export class SlowPipe implements PipeTransform {
  async transform(value: string): Promise<string> {
    await gates.of('pipe').passed;
    return value;
  }
}
