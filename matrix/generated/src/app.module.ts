import { Module } from '@nestjs/common';
import { ReplicaLockModule } from 'nestjs-replica-lock';
import { AppController } from './app.controller.js';
import { AppService } from './app.service.js';
import { OrdersController } from './orders.controller.js';
import { OrdersService } from './orders.service.js';

@Module({
  imports: [
    ReplicaLockModule.forRoot({
      connection: process.env.REDIS_URL ?? 'redis://localhost:6379',
    }),
  ],
  controllers: [AppController, OrdersController],
  providers: [AppService, OrdersService],
})
export class AppModule {}
