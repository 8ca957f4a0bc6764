import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { credentials, loadPackageDefinition, status, type Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
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
  type INestMicroservice,
  type MiddlewareConsumer,
  type NestMiddleware,
  type NestModule,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { ClientProxyFactory, GrpcMethod, MessagePattern, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { Test } from '@nestjs/testing';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { firstValueFrom } from 'rxjs';
import WebSocket from 'ws';
import {
  LockContendedError,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  type ReplicaLockModuleOptions,
} from '../../lib/index.js';
import { freePort } from '../support/ports.js';
import { adapters, startApp } from './apps.js';

const BUSY = {
  statusCode: 409,
  error: 'Conflict',
  message: 'Another request is working on this. Try again later.',
  code: 'LOCK_CONTENDED',
};

@Injectable()
class Payments {
  constructor(private readonly locks: LockService) {}

  pay(id: string): Promise<string> {
    return this.locks.withLock(`order:${id}`, { waitTime: 0 }, async () => 'paid');
  }

  misuse(): Promise<string> {
    return this.locks.withLock('', async () => 'paid');
  }
}

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

@WebSocketGateway()
class Gateway {
  constructor(private readonly payments: Payments) {}

  @SubscribeMessage('pay')
  pay(): Promise<string> {
    return this.payments.pay('7');
  }
}

describe('A lock error that escapes from a service, on a gateway', () => {
  it('is answered with the code, by each of two applications', async () => {
    for (let round = 0; round < 2; round++) {
      const module = await Test.createTestingModule({
        imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
        providers: [Payments, Gateway],
      }).compile();
      const app = module.createNestApplication({ logger: false, forceCloseConnections: true });
      app.useWebSocketAdapter(new WsAdapter(app));
      await app.listen(0, '127.0.0.1');
      await app.get(LockService).acquire('order:7');
      const client = new WebSocket((await app.getUrl()).replace('http', 'ws'));
      await once(client, 'open');
      client.send(JSON.stringify({ event: 'pay', data: {} }));
      const [message] = (await once(client, 'message')) as [Buffer];
      expect(JSON.parse(message.toString())).toEqual({
        event: 'exception',
        data: { status: 'error', code: 'LOCK_CONTENDED', message: BUSY.message, retryAfter: 2 },
      });
      client.close();
      await app.close();
    }
  });
});

@Controller()
class Messages {
  constructor(private readonly payments: Payments) {}

  @MessagePattern('pay')
  pay(id: string): Promise<string> {
    return this.payments.pay(id);
  }
}

describe('A lock error that escapes from a service, over TCP', () => {
  it('is answered with the code', async () => {
    const port = await freePort();
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
      controllers: [Messages],
      providers: [Payments],
    }).compile();
    const options = { host: '127.0.0.1', port };
    const server = module.createNestMicroservice({
      transport: Transport.TCP,
      options,
      logger: false,
    } as never);
    await server.listen();
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
    try {
      await server.get(LockService).acquire('order:7');
      await expect(firstValueFrom(client.send('pay', '7'))).rejects.toEqual({
        status: 'error',
        code: 'LOCK_CONTENDED',
        message: BUSY.message,
        retryAfter: 2,
      });
      expect(await firstValueFrom(client.send('pay', '8'))).toBe('paid');
    } finally {
      client.close();
      await server.close();
    }
  });
});

@Controller()
class Stock {
  constructor(private readonly payments: Payments) {}

  @GrpcMethod('Stock', 'Reserve')
  @ReplicaLocked('stock:{data.id}', { waitTime: 0 })
  async reserve(item: object): Promise<object> {
    return item;
  }

  @GrpcMethod('Stock', 'Pay')
  async pay({ id }: { id: string }): Promise<object> {
    await this.payments.pay(id);
    return { id };
  }
}

interface GrpcAnswer {
  readonly code?: number;
  readonly details?: string;
  readonly metadata?: Metadata;
  readonly id?: string;
}

describe('Over gRPC a lock error has a status that clients know', () => {
  let folder: string;
  let server: INestMicroservice;
  let ask: (method: 'Reserve' | 'Pay', id: string) => Promise<GrpcAnswer>;
  let close: () => void;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'grpc-'));
    const protoPath = join(folder, 'stock.proto');
    writeFileSync(
      protoPath,
      'syntax = "proto3"; package shop; message Item { string id = 1; }' +
        'service Stock { rpc Reserve (Item) returns (Item); rpc Pay (Item) returns (Item); }',
    );
    const url = `127.0.0.1:${await freePort()}`;
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
      controllers: [Stock],
      providers: [Payments],
    }).compile();
    server = module.createNestMicroservice({
      transport: Transport.GRPC,
      options: { url, package: 'shop', protoPath },
      logger: false,
    } as never);
    await server.listen();
    type Method = (item: object, done: (error: GrpcAnswer | null, answer: GrpcAnswer) => void) => void;
    const { shop: services } = loadPackageDefinition(loadSync(protoPath)) as unknown as {
      shop: {
        Stock: new (url: string, how: unknown) => Record<'Reserve' | 'Pay', Method> & { close(): void };
      };
    };
    const client = new services.Stock(url, credentials.createInsecure());
    ask = (method, id) =>
      new Promise((resolve) => client[method]({ id }, (error, answer) => resolve(error ?? answer)));
    close = () => client.close();
  });
  afterEach(async () => {
    close();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('ABORTED if the lock is contended, INVALID_ARGUMENT for a bad request', async () => {
    const locks = server.get(LockService);
    await locks.acquire(['stock:7', 'order:7']);
    for (const method of ['Reserve', 'Pay'] as const) {
      const answer = await ask(method, '7');
      expect([answer.code, answer.details]).toEqual([status.ABORTED, BUSY.message]);
      expect(answer.metadata?.get('lock-error-code')).toEqual(['LOCK_CONTENDED']);
      expect(answer.metadata?.get('retry-after')).toEqual(['2']);
    }
    expect(await ask('Reserve', '')).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining('data.id'),
    });
    expect(await ask('Pay', '8')).toMatchObject({ id: '8' });
  });

  it('UNAVAILABLE if no lock is granted', async () => {
    await server.get(LockService).drain();
    expect(await ask('Reserve', '7')).toMatchObject({ code: status.UNAVAILABLE });
    expect(await ask('Pay', '7')).toMatchObject({ code: status.UNAVAILABLE });
  });
});
