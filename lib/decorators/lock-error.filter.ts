import {
  Catch,
  Module,
  type ArgumentsHost,
  type ExceptionFilter,
  type ExecutionContext,
  type NestModule,
} from '@nestjs/common';
import {
  ApplicationConfig,
  BaseExceptionFilter,
  type HttpAdapterHost,
  type ModulesContainer,
} from '@nestjs/core';
import { defer, from, mergeMap, type Observable } from 'rxjs';
import { ReplicaLockError } from '../lock/errors.js';
import { responseTo, type LockExceptionFactory } from './error-responses.js';

/**
 * Answers lock errors that escape from handlers without `@ReplicaLocked`, such as those of a service
 * that a handler calls. The answer is that of a decorated handler, and the application's own global
 * filters are given it, as they are given that of a decorated handler. A filter costs nothing while
 * there is no error. Filters of a handler or controller, and global ones for lock errors, come first.
 */
@Catch(ReplicaLockError)
export class LockErrorFilter implements ExceptionFilter<ReplicaLockError> {
  constructor(
    private readonly adapterHost: HttpAdapterHost,
    private readonly config: ApplicationConfig,
    private readonly exceptionFactory: LockExceptionFactory | undefined,
  ) {}

  catch(error: ReplicaLockError, host: ArgumentsHost): unknown {
    const own = this.globalFilterFor(error, namesLockErrors);
    if (own !== undefined) return own.catch(error, host);
    switch (host.getType<string>()) {
      case 'http':
        // A library's own caller, which ExternalContextCreator calls one of HTTP by default, has no response.
        return hasResponse(host) ? this.answerHttp(error, host) : Promise.reject(error);
      case 'ws':
        return this.answerGateway(error, host);
      case 'rpc':
        return this.answerMessage(error, host);
      default:
        return this.rethrow(error, host);
    }
  }

  private async answerHttp(error: ReplicaLockError, host: ArgumentsHost): Promise<unknown> {
    const answer = await this.responseTo(error, host);
    const standard = new BaseExceptionFilter(this.adapterHost.httpAdapter);
    const own = this.globalFilterFor(answer);
    if (own === undefined) return standard.catch(answer, host);
    try {
      return await own.catch(answer, host);
    } catch (failure) {
      // Nest leaves a promise of a filter alone: its rejection would end the process.
      return standard.catch(failure, host);
    }
  }

  private async answerGateway(error: ReplicaLockError, host: ArgumentsHost): Promise<void> {
    const { BaseWsExceptionFilter } = await import('@nestjs/websockets');
    new BaseWsExceptionFilter().catch(await this.responseTo(error, host), host);
  }

  /** Nest expects an Observable of message handlers. */
  private answerMessage(error: ReplicaLockError, host: ArgumentsHost): Observable<unknown> {
    return defer(() =>
      from(Promise.all([import('@nestjs/microservices'), this.responseTo(error, host)])).pipe(
        mergeMap(([{ BaseRpcExceptionFilter }, answer]) =>
          new BaseRpcExceptionFilter().catch(answer as Error, host),
        ),
      ),
    );
  }

  /** GraphQL and other callers of handlers take what is thrown. */
  private async rethrow(error: ReplicaLockError, host: ArgumentsHost): Promise<never> {
    throw await this.responseTo(error, host);
  }

  private responseTo(error: ReplicaLockError, host: ArgumentsHost): Promise<unknown> {
    // Nest hands filters the same kind of object, without class and handler.
    return responseTo(host as ExecutionContext, error, this.exceptionFactory);
  }

  /** The application's global filter that Nest would ask: the last one that catches the error. */
  private globalFilterFor(
    error: unknown,
    isMeant: (types: readonly ErrorClass[]) => boolean = () => true,
  ): ExceptionFilter | undefined {
    return this.config.getGlobalFilters().findLast((filter) => {
      if (filter instanceof LockErrorFilter) return false;
      const types = caughtBy(filter);
      return (types.length === 0 || types.some((type) => error instanceof type)) && isMeant(types);
    });
  }
}

interface ErrorClass {
  new (...args: never[]): object;
  readonly prototype: object;
}

/** Nest's name of its own metadata. */
const CAUGHT = '__filterCatchExceptions__';

/** The classes of errors that a filter catches; none: all errors. */
function caughtBy(filter: ExceptionFilter): readonly ErrorClass[] {
  return (Reflect.getMetadata(CAUGHT, filter.constructor) ?? []) as readonly ErrorClass[];
}

function namesLockErrors(types: readonly ErrorClass[]): boolean {
  return types.some(({ prototype }) => prototype instanceof ReplicaLockError);
}

/**
 * Puts the filter before the global filters that an application sets up after it was created
 * (`app.useGlobalFilters`), so that a filter for everything is given the answer, not the lock's error.
 */
@Module({})
export class LockErrorFilterOrder implements NestModule {
  constructor(private readonly config: ApplicationConfig) {}

  /** The only hook that Nest calls between `useGlobalFilters` and the registration of routes. */
  configure(): void {
    const filters = this.config.getGlobalFilters().filter((each) => each instanceof LockErrorFilter);
    this.config.useGlobalFilters(...filters);
  }
}

function hasResponse(host: ArgumentsHost): boolean {
  const response = host.switchToHttp().getResponse<{ header?: unknown; setHeader?: unknown } | undefined>();
  // Middleware on Fastify is given Node's response, which has no `header`.
  return typeof response?.header === 'function' || typeof response?.setHeader === 'function';
}

/** In the place of the filter if the option `answerErrors` is false: what it catches is never thrown. */
class NoErrorFilter implements ExceptionFilter {
  catch(error: unknown): never {
    throw error;
  }
}
Catch(NoErrorFilter)(NoErrorFilter);

/** What a module registers as `APP_FILTER`. */
export function errorFilterFor(
  options: ErrorFilterOptions | undefined,
  adapterHost: HttpAdapterHost,
  config: ApplicationConfig,
  modules: ModulesContainer,
): ExceptionFilter {
  if (options?.answerErrors === false) return new NoErrorFilter();
  const filter = new LockErrorFilter(adapterHost, config, options?.exceptionFactory);
  answerOnGateways(filter, modules);
  return filter;
}

interface ErrorFilterOptions {
  readonly answerErrors?: boolean | undefined;
  readonly exceptionFactory?: LockExceptionFactory | undefined;
}

/** Nest's names of its own metadata. */
const GATEWAY = 'websockets:is_gateway';
const FILTERS = '__exceptionFilters__';

/** Nest gives gateways no global filters, so the filter becomes the last of each gateway's own. */
function answerOnGateways(filter: LockErrorFilter, modules: ModulesContainer): void {
  for (const { providers } of modules.values()) {
    for (const { metatype } of providers.values()) {
      if (typeof metatype !== 'function' || Reflect.getMetadata(GATEWAY, metatype) !== true) continue;
      const own = (Reflect.getMetadata(FILTERS, metatype) ?? []) as readonly unknown[];
      // Of another application in this process, which has the same gateway.
      const others = own.filter((each) => !(each instanceof LockErrorFilter));
      Reflect.defineMetadata(FILTERS, [filter, ...others], metatype);
    }
  }
}
