import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import { EventEmitterModule } from '@nestjs/event-emitter';
import { GraphQLModule } from '@nestjs/graphql';
import { ScheduleModule } from '@nestjs/schedule';
import { ReplicaLockModule } from 'nestjs-replica-lock';
import { Journal, OrdersController, OrdersGateway, OrdersResolver, Shelves, ShipHandler } from './orders.js';

/*
 * Every kind of handler that Nest has, in one application.
 *
 * `npm run sample:everywhere` starts it without Redis, on the port 3000, and the microservice on the
 * port 3001 (TCP):
 *
 *   curl -X POST localhost:3000/orders/1/pay     # 201 {"paid":"HTTP handler under order:1"}
 *   curl localhost:3000/graphql -H 'content-type: application/json' -d '{"query":"mutation{pay(id:\"2\")}"}'
 *   curl localhost:3000/graphql -H 'content-type: application/json' -d '{"query":"{journalLines}"}'
 */

@Module({
  imports: [
    ReplicaLockModule.forRoot({
      connection: process.env['REDIS_URL'] ?? 'memory:',
      quarantine: process.env['NODE_ENV'] === 'development' ? 0 : undefined,
    }),
    GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
    EventEmitterModule.forRoot(),
    ScheduleModule.forRoot(),
    CqrsModule.forRoot(),
  ],
  controllers: [OrdersController],
  providers: [Journal, OrdersResolver, OrdersGateway, Shelves, ShipHandler],
})
export class AppModule {}
