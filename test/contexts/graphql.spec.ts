import 'reflect-metadata';
import { afterEach, describe, expect, it } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  type CallHandler,
  type ExecutionContext,
  type INestApplication,
  type NestInterceptor,
  type PipeTransform,
  UseInterceptors,
} from '@nestjs/common';
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
import { Test } from '@nestjs/testing';
import { PubSub } from 'graphql-subscriptions';
import { createClient } from 'graphql-ws';
import { defaultIfEmpty, type Observable, takeUntil } from 'rxjs';
import WebSocket from 'ws';
import {
  CurrentLock,
  type Lock,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  RunOnce,
} from '../../lib/index.js';
import { free, Gates, locked } from '../decorators/apps.js';
import { until } from '../support/eventually.js';

let app: INestApplication;
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

  @Query(() => String)
  @RunOnce('once:{args.id}', { keepFor: '1h' })
  async once(@Args('id') id: string, @Args('by') by: string): Promise<string> {
    return `${id} by ${by}`;
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
  afterEach(async () => {
    gates.openAll();
    await app.close();
  });

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

  it('runs once for the arguments of the query, and answers with the first result', async () => {
    const { url } = await start();
    expect(await ask(url, '{ once(id: "7", by: "a") }')).toEqual({ data: { once: '7 by a' } });
    expect(await ask(url, '{ once(id: "7", by: "b") }')).toEqual({ data: { once: '7 by a' } });
    expect(await ask(url, '{ once(id: "8", by: "b") }')).toEqual({ data: { once: '8 by b' } });
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
