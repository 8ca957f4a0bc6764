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
 * Answers lock errors that escape from handlers without `@ReplicaLocked`, for example from a
 * service that a handler calls. The caller gets the same exception as from a decorated handler, and
 * so do the application's own global filters. A filter costs nothing while there is no error.
 *
 * Filters of a handler or controller, and global filters that name lock errors, come first.
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
        // ExternalContextCreator calls the contexts of a library `http`, without a response.
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
      // Nest ignores the promise that a filter returns: a rejection would end the process.
      return standard.catch(failure, host);
    }
  }

  private async answerGateway(error: ReplicaLockError, host: ArgumentsHost): Promise<void> {
    const { BaseWsExceptionFilter } = await import('@nestjs/websockets');
    new BaseWsExceptionFilter().catch(await this.responseTo(error, host), host);
  }

  /** For message handlers Nest expects the filter to return an Observable. */
  private answerMessage(error: ReplicaLockError, host: ArgumentsHost): Observable<unknown> {
    return defer(() =>
      from(Promise.all([import('@nestjs/microservices'), this.responseTo(error, host)])).pipe(
        mergeMap(([{ BaseRpcExceptionFilter }, answer]) =>
          new BaseRpcExceptionFilter().catch(answer as Error, host),
        ),
      ),
    );
  }

  /** GraphQL servers and other libraries that call handlers take the exception that is thrown. */
  private async rethrow(error: ReplicaLockError, host: ArgumentsHost): Promise<never> {
    throw await this.responseTo(error, host);
  }

  private responseTo(error: ReplicaLockError, host: ArgumentsHost): Promise<unknown> {
    // Nest gives filters an object of the same class, with neither class nor handler set.
    return responseTo(host as ExecutionContext, error, this.exceptionFactory);
  }

  /** The application's global filter that Nest would call: the last one that catches the error. */
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

/** Nest's name for the metadata of `@Catch`. */
const CAUGHT = '__filterCatchExceptions__';

/** The classes of errors that a filter catches. An empty list means all errors. */
function caughtBy(filter: ExceptionFilter): readonly ErrorClass[] {
  return (Reflect.getMetadata(CAUGHT, filter.constructor) ?? []) as readonly ErrorClass[];
}

function namesLockErrors(types: readonly ErrorClass[]): boolean {
  return types.some(({ prototype }) => prototype instanceof ReplicaLockError);
}

/**
 * Moves the filter behind the global filters that an application sets after its creation
 * (`app.useGlobalFilters`). Nest asks the last filter first: a catch-all filter of the application
 * then gets the exception for the caller, and not the lock's error.
 */
@Module({})
export class LockErrorFilterOrder implements NestModule {
  constructor(private readonly config: ApplicationConfig) {}

  /** Nest calls no other hook between `useGlobalFilters` and the registration of routes. */
  configure(): void {
    const filters = this.config.getGlobalFilters().filter((each) => each instanceof LockErrorFilter);
    this.config.useGlobalFilters(...filters);
  }
}

function hasResponse(host: ArgumentsHost): boolean {
  const response = host.switchToHttp().getResponse<{ header?: unknown; setHeader?: unknown } | undefined>();
  // Middleware on Fastify gets Node's response, which has no `header`.
  return typeof response?.header === 'function' || typeof response?.setHeader === 'function';
}

/**
 * Stands in for the filter if the option `answerErrors` is false. This class is also the only error
 * that the filter catches, so that no error is caught.
 */
class NoErrorFilter implements ExceptionFilter {
  catch(error: unknown): never {
    throw error;
  }
}
Catch(NoErrorFilter)(NoErrorFilter);

/** The filter that a module registers as `APP_FILTER`. */
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

/** Nest's names for the metadata of `@WebSocketGateway` and `@UseFilters`. */
const GATEWAY = 'websockets:is_gateway';
const FILTERS = '__exceptionFilters__';

/**
 * Nest applies no global filters to gateways: the filter is added to each gateway's own filters.
 */
function answerOnGateways(filter: LockErrorFilter, modules: ModulesContainer): void {
  for (const { providers } of modules.values()) {
    for (const { metatype } of providers.values()) {
      if (typeof metatype !== 'function' || Reflect.getMetadata(GATEWAY, metatype) !== true) continue;
      const own = (Reflect.getMetadata(FILTERS, metatype) ?? []) as readonly unknown[];
      // Another application in this process may have added its filter to the same gateway.
      const others = own.filter((each) => !(each instanceof LockErrorFilter));
      Reflect.defineMetadata(FILTERS, [filter, ...others], metatype);
    }
  }
}
