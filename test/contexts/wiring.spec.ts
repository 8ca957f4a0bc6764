import 'reflect-metadata';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Inject, Injectable, Scope, type INestApplication } from '@nestjs/common';
import {
  ContextIdFactory,
  REQUEST,
  type ContextId,
  type ContextIdResolver,
  type ContextIdStrategy,
  type HostComponentInfo,
} from '@nestjs/core';
import { ReplContext } from '@nestjs/core/repl/repl-context.js';
import {
  CommandBus,
  CommandHandler,
  CqrsModule,
  EventBus,
  ofType,
  Saga,
  type ICommand,
  type ICommandHandler,
  type IEvent,
} from '@nestjs/cqrs';
import { ApolloFederationDriver, type ApolloFederationDriverConfig } from '@nestjs/apollo';
import {
  Directive,
  Field,
  GraphQLModule,
  ID,
  ObjectType,
  Query,
  Resolver,
  ResolveReference,
} from '@nestjs/graphql';
import { map, type Observable } from 'rxjs';
import { LockService, ReplicaLocked } from '../../lib/index.js';
import { startApp } from '../decorators/apps.js';
import { until } from '../support/eventually.js';

let app: INestApplication;
afterEach(() => app.close());

class Paid {
  constructor(readonly order: string) {}
}
class Ship {
  constructor(readonly order: string) {}
}

describe('A saga of @nestjs/cqrs', () => {
  it('sends its commands to locked handlers', async () => {
    const seen: unknown[] = [];
    @CommandHandler(Ship)
    class ShipHandler implements ICommandHandler<Ship> {
      constructor(private readonly locks: LockService) {}

      @ReplicaLocked('shipment:{0.order}')
      async execute(_command: Ship): Promise<void> {
        seen.push(this.locks.current()?.key);
      }
    }
    @Injectable()
    class Shipments {
      @Saga()
      paid = (events: Observable<IEvent>): Observable<ICommand> =>
        events.pipe(
          ofType(Paid),
          map(({ order }) => new Ship(order)),
        );
    }
    ({ app } = await startApp({ imports: [CqrsModule.forRoot()], providers: [ShipHandler, Shipments] }));
    app.get(EventBus).publishAll([new Paid('1'), new Paid('2')]);
    await until(() => seen.length === 2, { what: 'both commands were handled' });
    expect(seen).toEqual(['shipment:1', 'shipment:2']);
    expect(app.get(CommandBus)).toBeDefined();
  });
});

/** One tree of request-scoped objects for each tenant. */
class ByTenant implements ContextIdStrategy<{ headers: Record<string, string> }> {
  private readonly ids = new Map<string, ContextId>();

  attach(contextId: ContextId, { headers }: { headers: Record<string, string> }): ContextIdResolver {
    const tenant = headers['x-tenant'] ?? 'none';
    const id = this.ids.get(tenant) ?? ContextIdFactory.create();
    this.ids.set(tenant, id);
    return {
      resolve: (info: HostComponentInfo) => (info.isTreeDurable ? id : contextId),
      payload: { tenant },
    };
  }
}

describe('A durable provider', () => {
  it('locks in the tree of each tenant', async () => {
    @Injectable({ scope: Scope.REQUEST, durable: true })
    class Invoices {
      constructor(
        @Inject(REQUEST) private readonly request: { tenant: string },
        private readonly locks: LockService,
      ) {}

      @ReplicaLocked('invoices')
      async write(): Promise<string> {
        return `${this.request.tenant} ${this.locks.current()?.key}`;
      }
    }
    @Controller()
    class Accounts {
      constructor(private readonly invoices: Invoices) {}

      @Get('invoices')
      write(): Promise<string> {
        return this.invoices.write();
      }
    }
    ContextIdFactory.apply(new ByTenant() as never);
    let url: string;
    ({ app, url } = await startApp({ controllers: [Accounts], providers: [Invoices] }));
    const write = async (tenant: string): Promise<string> =>
      (await fetch(`${url}/invoices`, { headers: { 'x-tenant': tenant } })).text();
    expect(await Promise.all([write('one'), write('two'), write('one')])).toEqual([
      'one invoices',
      'two invoices',
      'one invoices',
    ]);
  });
});

describe('In the REPL', () => {
  it('the locked methods of an object from get() are locked', async () => {
    @Injectable()
    class Reports {
      constructor(private readonly locks: LockService) {}

      @ReplicaLocked('report:{0}')
      async run(_id: string): Promise<string | undefined> {
        return this.locks.current()?.key;
      }
    }
    ({ app } = await startApp({ providers: [Reports] }));
    const { globalScope } = new ReplContext(app);
    const get = (globalScope as { get: (token: unknown) => Reports }).get;
    expect(await get(Reports).run('7')).toBe('report:7');
  });
});

@ObjectType()
@Directive('@key(fields: "id")')
class Order {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { nullable: true })
  lock?: string | undefined;
}

@Resolver(() => Order)
class Orders {
  constructor(private readonly locks: LockService) {}

  @Query(() => Order)
  @ReplicaLocked('orders')
  async first(): Promise<Order> {
    return { id: '1', lock: this.locks.current()?.key };
  }

  @ResolveReference()
  @ReplicaLocked('order:{0.id}')
  async resolve(reference: { __typename: string; id: string }): Promise<Order> {
    return { id: reference.id, lock: this.locks.current()?.key };
  }
}

describe('A subgraph of a GraphQL federation', () => {
  it('locks the resolvers of its queries and of references from other subgraphs', async () => {
    let url: string;
    ({ app, url } = await startApp({
      imports: [
        GraphQLModule.forRoot<ApolloFederationDriverConfig>({
          driver: ApolloFederationDriver,
          autoSchemaFile: { federation: 2 },
          playground: false,
        }),
      ],
      providers: [Orders],
    }));
    const query =
      '{ first { id lock } _entities(representations: [{ __typename: "Order", id: "7" }]) { ... on Order { id lock } } }';
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
    });
    expect(await response.json()).toEqual({
      data: { first: { id: '1', lock: 'orders' }, _entities: [{ id: '7', lock: 'order:7' }] },
    });
  });
});
