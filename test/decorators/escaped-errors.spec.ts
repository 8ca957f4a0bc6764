import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Catch,
  Controller,
  Get,
  HttpException,
  Injectable,
  Module,
  Param,
  UseFilters,
  type ArgumentsHost,
  type ExceptionFilter,
  type INestApplication,
  type MiddlewareConsumer,
  type NestMiddleware,
  type NestModule,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  LockContendedError,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  type ReplicaLockModuleOptions,
} from '../../lib/index.js';
import { adapters, startApp } from './apps.js';
import { Payments } from './payments.js';

const BUSY = {
  statusCode: 409,
  error: 'Conflict',
  message: 'Another request is working on this. Try again later.',
  code: 'LOCK_CONTENDED',
};

@Catch()
class Teapot implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): void {
    const response = host
      .switchToHttp()
      .getResponse<{ status(code: number): { send(body: unknown): void } }>();
    response.status(418).send({ name: error.name });
  }
}

interface ResponseLike {
  status(code: number): { send(body: unknown): void };
}

/** The catch-all filter of Nest's documentation. */
@Catch()
class AllErrors implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const code = error instanceof HttpException ? error.getStatus() : 500;
    host.switchToHttp().getResponse<ResponseLike>().status(code).send({ form: 'of the application' });
  }
}

@Catch(HttpException)
class HttpErrors extends AllErrors {}

@Catch(LockContendedError)
class BusyLocks implements ExceptionFilter {
  catch(error: LockContendedError, host: ArgumentsHost): void {
    host.switchToHttp().getResponse<ResponseLike>().status(423).send({ keys: error.keys });
  }
}

@Catch(HttpException)
class Broken implements ExceptionFilter {
  catch(): never {
    throw new Error('the filter is broken');
  }
}

@Controller()
class Orders {
  constructor(private readonly payments: Payments) {}

  @Get('pay/:id')
  pay(@Param('id') id: string): Promise<string> {
    return this.payments.pay(id);
  }

  @Get('misuse')
  misuse(): Promise<string> {
    return this.payments.misuse();
  }

  @Get('filtered/:id')
  @UseFilters(Teapot)
  filtered(@Param('id') id: string): Promise<string> {
    return this.payments.pay(id);
  }

  @Get('decorated/:id')
  @ReplicaLocked('decorated:{query.tenant}', { waitTime: 0 })
  async decorated(): Promise<string> {
    return 'done';
  }
}

const shop = { controllers: [Orders], providers: [Payments] };

@Injectable()
class PaymentsFirst implements NestMiddleware {
  constructor(private readonly payments: Payments) {}

  async use(_request: unknown, _response: unknown, next: () => void): Promise<void> {
    await this.payments.pay('7');
    next();
  }
}

@Module({ providers: [Payments] })
class Guarded implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(PaymentsFirst).forRoutes('decorated/*path');
  }
}

describe.each(adapters)('A lock error that escapes from a service, on %s', (adapter) => {
  let app: INestApplication;
  afterEach(() => app.close());

  it('gets the same answer as that of a decorated handler, which does not name the key', async () => {
    let url: string;
    ({ app, url } = await startApp(shop, { adapter }));
    await app.get(LockService).acquire('order:secret-7');
    const response = await fetch(`${url}/pay/secret-7`);
    const text = await response.text();
    expect(response.status).toBe(409);
    expect(['1', '2']).toContain(response.headers.get('retry-after'));
    expect(JSON.parse(text)).toEqual(BUSY);
    expect(text).not.toMatch(/secret|order/);
  });

  it('is answered if a middleware throws the error', async () => {
    let url: string;
    ({ app, url } = await startApp({ ...shop, imports: [Guarded] }, { adapter }));
    await app.get(LockService).acquire('order:7');
    const response = await fetch(`${url}/decorated/1?tenant=1`, { signal: AbortSignal.timeout(5_000) });
    expect([response.status, response.headers.get('retry-after')]).toEqual([409, '2']);
    expect(await response.json()).toEqual(BUSY);
  });

  it('is a plain 500 if the program is to blame', async () => {
    let url: string;
    ({ app, url } = await startApp(shop, { adapter }));
    const response = await fetch(`${url}/misuse`);
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({ statusCode: 500, message: 'Internal server error' });
  });

  it('reaches the handler’s own filter first', async () => {
    let url: string;
    ({ app, url } = await startApp(shop, { adapter }));
    await app.get(LockService).acquire('order:7');
    const response = await fetch(`${url}/filtered/7`);
    expect(response.status).toBe(418);
    expect(await response.json()).toEqual({ name: 'LockContendedError' });
  });

  it('names the part of the request that is missing, and no template', async () => {
    let url: string;
    ({ app, url } = await startApp(shop, { adapter }));
    const response = await fetch(`${url}/decorated/7`);
    const text = await response.text();
    expect(response.status).toBe(400);
    expect(text).toContain('The value of query.tenant in this request is undefined.');
    expect(text).not.toMatch(/decorated|\{query/);
  });
});

describe('The answers to lock errors that escape', () => {
  let app: INestApplication;
  afterEach(() => app.close());

  async function start(
    options: Partial<ReplicaLockModuleOptions>,
    extra: object[] = [],
    filters: ExceptionFilter[] = [],
  ): Promise<string> {
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0, ...options })],
      controllers: [Orders],
      providers: [Payments, ...(extra as never[])],
    }).compile();
    app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    app.useGlobalFilters(...filters);
    await app.listen(0, '127.0.0.1');
    await app.get(LockService).acquire('order:7');
    return app.getUrl();
  }

  it('can be turned off', async () => {
    expect((await fetch(`${await start({ answerErrors: false })}/pay/7`)).status).toBe(500);
  });

  const globally = (how: string, filter: new () => ExceptionFilter): Promise<string> =>
    how === 'APP_FILTER'
      ? start({}, [{ provide: APP_FILTER, useClass: filter }])
      : start({}, [], [new filter()]);

  it.each([
    ['for everything', 'APP_FILTER', AllErrors],
    ['for everything', 'useGlobalFilters', AllErrors],
    ['for HTTP exceptions', 'APP_FILTER', HttpErrors],
    ['for HTTP exceptions', 'useGlobalFilters', HttpErrors],
  ])('are given to a global filter of the application %s (%s)', async (_what, how, filter) => {
    const url = await globally(how, filter);
    await app.get(LockService).acquire('decorated:1');
    for (const path of ['pay/7', 'decorated/7?tenant=1']) {
      const response = await fetch(`${url}/${path}`);
      expect(response.status).toBe(409);
      expect(response.headers.get('retry-after')).not.toBeNull();
      expect(await response.json()).toEqual({ form: 'of the application' });
    }
    expect((await fetch(`${url}/misuse`)).status).toBe(500);
  });

  it.each(['APP_FILTER', 'useGlobalFilters'])(
    'are left to a global filter for lock errors (%s)',
    async (how) => {
      const response = await fetch(`${await globally(how, BusyLocks)}/pay/7`);
      expect([response.status, await response.json()]).toEqual([423, { keys: ['order:7'] }]);
    },
  );

  it('do not end the process if the filter that gets them fails', async () => {
    const url = await start({}, [{ provide: APP_FILTER, useClass: Broken }]);
    expect((await fetch(`${url}/pay/7`)).status).toBe(500);
  });

  it('are the exception that the exceptionFactory throws', async () => {
    const url = await start({
      exceptionFactory: () => {
        throw new HttpException('Locked', 423);
      },
    });
    expect((await fetch(`${url}/pay/7`)).status).toBe(423);
  });

  it('come from the exceptionFactory', async () => {
    const url = await start({
      exceptionFactory: (error) =>
        error instanceof LockContendedError ? new HttpException('Locked', 423) : undefined,
    });
    const response = await fetch(`${url}/pay/7`);
    expect([response.status, response.headers.get('retry-after')]).toEqual([423, '2']);
  });
});
