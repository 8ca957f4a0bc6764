import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import { EventEmitterModule } from '@nestjs/event-emitter';
import { GraphQLModule } from '@nestjs/graphql';
import { ScheduleModule } from '@nestjs/schedule';
import { ReplicaLockModule } from 'nestjs-replica-lock';
import { Journal, OrdersController, OrdersGateway, OrdersResolver, Shelves, ShipHandler } from './orders.js';

/** One application with every kind of handler that Nest has. */
@Module({
  imports: [
    ReplicaLockModule.forRoot({ connection: process.env['REDIS_URL'] ?? 'memory:', quarantine: 0 }),
    GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
    EventEmitterModule.forRoot(),
    ScheduleModule.forRoot(),
    CqrsModule.forRoot(),
  ],
  controllers: [OrdersController],
  providers: [Journal, OrdersResolver, OrdersGateway, Shelves, ShipHandler],
})
export class AppModule {}
