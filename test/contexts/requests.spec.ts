import 'reflect-metadata';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
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
  type PipeTransform,
  Post,
  Sse,
  StreamableFile,
  UseInterceptors,
  ValidationPipe,
  VersioningType,
} from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR } from '@nestjs/core';
import {
  Args,
  Field,
  GraphQLModule,
  ID,
  Mutation,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { IsInt } from 'class-validator';
import { PubSub } from 'graphql-subscriptions';
import { createClient } from 'graphql-ws';
import { defaultIfEmpty, map, type Observable, of, takeUntil } from 'rxjs';
import WebSocket from 'ws';
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
import { adapters, type Adapter, free, Gates, locked } from '../decorators/apps.js';
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

const gates = new Gates();

class Impatient implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(takeUntil(gates.of('patience').passed), defaultIfEmpty('too late'));
  }
}

class TrimPipe implements PipeTransform<string, string> {
  transform(value: string): string {
    return value.trim();
  }
}

@ObjectType()
class Item {
  @Field(() => ID)
  id!: string;
}

const published = new PubSub();

@Resolver(() => Item)
class Items {
  constructor(private readonly locks: LockService) {}

  @Query(() => String)
  @ReplicaLocked('item:{args.id}', { waitTime: 0 })
  async item(@Args('id') id: string, @CurrentLock() lock: Lock): Promise<string> {
    return `${id} under ${lock.key}`;
  }

  @Mutation(() => Item)
  @ReplicaLocked('item:{args.input.id}', { waitTime: 0 })
  async rename(@Args('input', { type: () => ID }) id: string): Promise<Item> {
    return { id };
  }

  @Mutation(() => Item)
  @ReplicaLocked((context: ExecutionContext) => `item:${context.getArgs<[unknown, { id: string }]>()[1].id}`)
  async add(@Args('id', { type: () => ID }) id: string): Promise<Item> {
    return { id };
  }

  /**
   * Field resolvers are called without interceptors, as plain methods. The arguments are the parent
   * and the field's own.
   */
  @ResolveField(() => String)
  @ReplicaLocked('stock:{0.id}:{1}', { waitTime: 0 })
  async stock(@Parent() item: Item, @Args('place') place: string): Promise<string> {
    return `${this.locks.current()?.key} (${item.id}, ${place})`;
  }

  /** Called with interceptors if the application enables them. The arguments are the same. */
  @ResolveField(() => [String])
  @ReplicaLocked((item: Item, place: string) => [`field:${item.id}`, `field:${place}`], { waitTime: 0 })
  async places(@Parent() _item: Item, @Args('place') _place: string): Promise<readonly string[]> {
    return this.locks.current()?.keys ?? [];
  }

  @ResolveField(() => String)
  @ReplicaLocked('named:{args.place}', { waitTime: 0 })
  async named(@Args('place') _place: string): Promise<string | undefined> {
    return this.locks.current()?.key;
  }

  @Mutation(() => String)
  @ReplicaLocked('item:{0}', { waitTime: 0 })
  async byArgument(
    @Args('id', { type: () => ID }, TrimPipe) _id: string,
    @CurrentLock() lock: Lock,
  ): Promise<string> {
    return lock.key;
  }

  @Mutation(() => String, { nullable: true })
  @ReplicaLocked('slow:{args.id}', { waitTime: 0 })
  @UseInterceptors(Impatient)
  async slow(@Args('id', { type: () => ID }) _id: string): Promise<string> {
    await gates.of('slow').passed;
    return 'done';
  }

  @Query(() => String)
  async byService(): Promise<string> {
    return this.locks.withLock('item:1', { waitTime: 0 }, () => 'ran');
  }

  @Query(() => String)
  @ReplicaLocked((): string => '')
  async wrong(): Promise<string> {
    return 'ran';
  }

  @Subscription(() => String)
  @ReplicaLocked('watch:{args.id}', { waitTime: 0 })
  async watched(@Args('id') _id: string): Promise<AsyncIterator<unknown>> {
    return published.asyncIterableIterator('watched');
  }
}

describe('A resolver', () => {
  const start = async (
    options: Partial<ApolloDriverConfig> = {},
  ): Promise<{ url: string; locks: LockService }> => {
    const module = await Test.createTestingModule({
      imports: [
        ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 }),
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          autoSchemaFile: true,
          includeStacktraceInErrorResponses: false,
          subscriptions: { 'graphql-ws': true },
          ...options,
        }),
      ],
      providers: [Items],
    }).compile();
    app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    await app.listen(0, '127.0.0.1');
    return { url: `${await app.getUrl()}/graphql`, locks: app.get(LockService) };
  };
  const ask = async (
    url: string,
    query: string,
  ): Promise<{ data?: unknown; errors?: { message: string; extensions: unknown }[] }> =>
    (
      await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query }),
      })
    ).json() as Promise<never>;

  it('finds its key in the arguments of the query', async () => {
    const { url, locks } = await start();
    expect(await ask(url, '{ item(id: "a:b") }')).toEqual({ data: { item: 'a:b under item:a%3Ab' } });
    expect(await ask(url, 'mutation { add(id: "7") { id stock(place: "shelf") } }')).toEqual({
      data: { add: { id: '7', stock: 'stock:7:shelf (7, shelf)' } },
    });
    expect(await ask(url, 'mutation { rename(input: "7") { id } }')).toMatchObject({
      errors: [{ message: expect.stringContaining('args.input.id'), extensions: { code: 'LOCK_KEY' } }],
    });
    expect(locks.held).toEqual([]);
  });

  it.each([
    ['without', []],
    ['with', ['interceptors', 'guards', 'filters']],
  ] as const)('finds the key of a field in the field’s arguments, %s enhancers', async (_how, enhancers) => {
    const { url, locks } = await start({ fieldResolverEnhancers: [...enhancers] });
    const query = 'mutation { add(id: "7") { places(place: "shelf") named(place: "shelf") } }';
    expect(await ask(url, query)).toEqual({
      data: { add: { places: ['field:7', 'field:shelf'], named: 'named:shelf' } },
    });
    expect(locks.held).toEqual([]);
  });

  it('takes a number of a template from its own arguments, after pipes', async () => {
    const { url } = await start();
    expect(await ask(url, 'mutation { byArgument(id: " 7 ") }')).toEqual({ data: { byArgument: 'item:7' } });
  });

  it('keeps the lock until the promise has settled, although an interceptor has stopped waiting', async () => {
    const { url, locks } = await start();
    const answer = ask(url, 'mutation { slow(id: "1") }');
    await locked(locks, 'slow:1');
    gates.of('patience').open();
    expect(await answer).toEqual({ data: { slow: 'too late' } });
    expect(await locks.isLocked('slow:1')).toBe(true);
    gates.of('slow').open();
    await free(locks, 'slow:1');
  });

  it('answers a busy lock with the code, and without the holder’s host', async () => {
    const { url, locks } = await start();
    const held = [await locks.acquire('item:1'), await locks.acquire('stock:1:shelf')];
    for (const query of [
      '{ item(id: "1") }',
      '{ byService }',
      'mutation { add(id: "1") { stock(place: "shelf") } }',
    ]) {
      if (query.includes('add')) await held[0]!.release();
      const { errors } = await ask(url, query);
      expect(errors).toMatchObject([{ extensions: { code: 'LOCK_CONTENDED' } }]);
    }
    const { errors } = await ask(url, '{ wrong }');
    expect(errors).toMatchObject([{ message: 'Internal server error', extensions: { code: 'LOCK_KEY' } }]);
    const again = await locks.acquire('item:2');
    const answer = await ask(url, '{ item(id: "2") }');
    expect(answer.errors).toMatchObject([{ extensions: { code: 'LOCK_CONTENDED', retryAfter: 2 } }]);
    expect(JSON.stringify(answer)).not.toContain('rl:');
    await again.release();
  });

  it('holds the lock of a subscription until the subscriber leaves', async () => {
    const { url, locks } = await start();
    const client = createClient({
      url: url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      retryAttempts: 0,
    });
    const events = client.iterate({ query: 'subscription { watched(id: "5") }' });
    const first = events.next();
    await until(() => locks.isLocked('watch:5'), { what: 'it has begun' });
    const second = client.iterate({ query: 'subscription { watched(id: "5") }' });
    expect(await second.next()).toMatchObject({
      value: { errors: [{ extensions: { code: 'LOCK_CONTENDED' } }] },
    });
    await until(
      async () => {
        await published.publish('watched', { watched: 'news' });
        return (await Promise.race([first, Promise.resolve(undefined)])) !== undefined;
      },
      { what: 'the first event has come' },
    );
    expect(await first).toMatchObject({ value: { data: { watched: 'news' } } });
    expect(await locks.isLocked('watch:5')).toBe(true);
    await events.return?.();
    await until(async () => !(await locks.isLocked('watch:5')), { what: 'it is released' });
    await client.dispose();
  });
});
