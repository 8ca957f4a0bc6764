import 'reflect-metadata';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  type ArgumentsHost,
  Body,
  type CallHandler,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpException,
  type INestApplication,
  type MessageEvent,
  type NestInterceptor,
  Param,
  Post,
  Sse,
  StreamableFile,
  UseInterceptors,
  ValidationPipe,
  VersioningType,
} from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { IsInt } from 'class-validator';
import { map, type Observable, of } from 'rxjs';
import {
  CurrentLock,
  type Lock,
  LockContendedError,
  LockNotReplicatedError,
  LockService,
  ReplicaLocked,
  ReplicaLockError,
  ReplicaLockInterceptor,
  ReplicaLockModule,
  type ReplicaLockModuleOptions,
} from '../../lib/index.js';
import { adapters, type Adapter } from '../decorators/apps.js';
import { until } from '../support/eventually.js';

let app: INestApplication;
afterEach(() => app.close());

class Amount {
  @IsInt()
  cents!: number;
}

const order: string[] = [];
class Timing implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    order.push('before');
    return next.handle().pipe(map((value: unknown) => ({ value })));
  }
}

@Controller({ path: 'orders', version: '2' })
class Orders {
  constructor(private readonly locks: LockService) {}

  @Post(':id/pay')
  @ReplicaLocked('order:{params.id}:{body.cents}', { waitTime: 0 })
  async pay(@Param('id') id: string, @Body() amount: Amount, @CurrentLock() lock: Lock): Promise<object> {
    order.push('handler');
    return { id, isAmount: amount instanceof Amount, key: lock.key };
  }

  @Get('busy')
  @ReplicaLocked('busy', { waitTime: 0 })
  async busy(): Promise<string> {
    return 'ran';
  }

  @Get('rendered')
  @ReplicaLocked('render', { limit: 2, waitTime: 0 })
  async render(@CurrentLock() lock: Lock): Promise<number> {
    return lock.limit;
  }

  /** Not decorated: the handler's own work takes the lock. */
  @Get('by-service')
  async byService(): Promise<string> {
    return this.locks.withLock('busy', { waitTime: 0 }, () => 'ran');
  }

  @Get('misused')
  async misused(): Promise<string> {
    return this.locks.withLock('', () => 'ran');
  }

  @Sse('events')
  @ReplicaLocked('events')
  events(): Observable<MessageEvent> {
    return of({ data: `${this.locks.held.length}` }, { data: `${this.locks.held.length}` });
  }

  @Get('file')
  @UseInterceptors(ReplicaLockInterceptor)
  @ReplicaLocked('file')
  async file(): Promise<StreamableFile> {
    return new StreamableFile(Buffer.from('a file'));
  }
}

async function startOrders(
  adapter: Adapter,
  options: Partial<ReplicaLockModuleOptions> = {},
  providers: object[] = [],
): Promise<{ url: string; locks: LockService }> {
  const module = await Test.createTestingModule({
    imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0, ...options })],
    controllers: [Orders],
    providers: providers as [],
  }).compile();
  app =
    adapter === 'express'
      ? module.createNestApplication({ logger: false, forceCloseConnections: true })
      : module.createNestApplication(new FastifyAdapter({ forceCloseConnections: true }) as never, {
          logger: false,
        });
  app.setGlobalPrefix('api');
  app.enableVersioning({ type: VersioningType.URI });
  app.useGlobalPipes(new ValidationPipe({ transform: true }));
  await app.listen(0, '127.0.0.1');
  return { url: `${await app.getUrl()}/api/v2/orders`, locks: app.get(LockService) };
}

describe.each(adapters)('A versioned and prefixed route on %s', (adapter) => {
  it('takes the lock among the global interceptors, and before the ValidationPipe', async () => {
    const { url, locks } = await startOrders(adapter, {}, [{ provide: APP_INTERCEPTOR, useClass: Timing }]);
    order.length = 0;
    const pay = (cents: unknown): Promise<Response> =>
      fetch(`${url}/7/pay`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ cents }),
      });
    expect(await (await pay(5)).json()).toEqual({ value: { id: '7', isAmount: true, key: 'order:7:5' } });
    expect(order).toEqual(['before', 'handler']);
    const invalid = await pay('five');
    expect(invalid.status).toBe(400);
    expect(await invalid.json()).toMatchObject({ message: ['cents must be an integer number'] });
    expect(locks.held).toEqual([]);
  });

  it('is answered by the application’s global filter, which gets the lock’s own error as the cause', async () => {
    @Catch(HttpException)
    class Teapot implements ExceptionFilter {
      catch(exception: HttpException, host: ArgumentsHost): void {
        const { code } = exception.cause as ReplicaLockError;
        host
          .switchToHttp()
          .getResponse<{ status(code: number): { send(body: unknown): void } }>()
          .status(418)
          .send({ code });
      }
    }
    const { url, locks } = await startOrders(adapter, {}, [{ provide: APP_FILTER, useClass: Teapot }]);
    await locks.acquire('busy');
    const response = await fetch(`${url}/busy`);
    expect([response.status, await response.json()]).toEqual([418, { code: 'LOCK_CONTENDED' }]);
  });

  it('streams events and files under the lock', async () => {
    const { url, locks } = await startOrders(adapter);
    expect(await (await fetch(`${url}/events`)).text()).toMatch(/data: 1[\s\S]*data: 1/);
    expect(await (await fetch(`${url}/file`)).text()).toBe('a file');
    await until(() => locks.held.length === 0, { what: 'both are released' });
  });

  it('answers 409 if the key has as many holders as the limit of the route allows', async () => {
    const { url, locks } = await startOrders(adapter);
    const [first] = [await locks.acquire('render', { limit: 2 })];
    expect(await (await fetch(`${url}/rendered`)).json()).toBe(2);
    await locks.acquire('render', { limit: 2 });
    const refused = await fetch(`${url}/rendered`);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([409, '2']);
    expect(await refused.json()).toMatchObject({ code: 'LOCK_CONTENDED' });
    await first.release();
    expect((await fetch(`${url}/rendered`)).status).toBe(200);
  });

  it('answers a lock’s error with the exception of the application’s factory', async () => {
    const exceptionFactory = (error: ReplicaLockError): unknown =>
      error instanceof LockContendedError ? new HttpException('Locked', 423, { cause: error }) : undefined;
    const { url, locks } = await startOrders(adapter, { exceptionFactory });
    await locks.acquire('busy');
    const response = await fetch(`${url}/busy`);
    expect([response.status, response.headers.get('retry-after')]).toEqual([423, '2']);
    await app.close();
    const again = await startOrders(adapter, {
      exceptionFactory: (error) => (error instanceof LockNotReplicatedError ? error : undefined),
    });
    await again.locks.acquire('busy');
    expect((await fetch(`${again.url}/busy`)).status).toBe(409);
  });

  it('answers the lock errors of its own work if the interceptor is a global one', async () => {
    const { url, locks } = await startOrders(adapter, {}, [
      { provide: APP_INTERCEPTOR, useClass: ReplicaLockInterceptor },
    ]);
    const take = jest.spyOn(locks as unknown as { take(keys: readonly string[]): void }, 'take');
    expect(await (await fetch(`${url}/busy`)).text()).toBe('ran');
    expect(await (await fetch(`${url}/by-service`)).text()).toBe('ran');
    expect(take.mock.calls.filter(([keys]) => keys.includes('busy'))).toHaveLength(2);
    await locks.acquire('busy');
    expect((await fetch(`${url}/busy`)).status).toBe(409);
    const response = await fetch(`${url}/by-service`);
    expect([response.status, response.headers.get('retry-after')]).toEqual([409, '2']);
    expect(await response.json()).toMatchObject({ code: 'LOCK_CONTENDED' });
    expect((await fetch(`${url}/misused`)).status).toBe(500);
  });
});
