import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { APP_FILTER } from '@nestjs/core';
import { ScheduleModule } from '@nestjs/schedule';
import { ReplicaLockModule } from 'nestjs-replica-lock';
import { Bank } from './bank.js';
import { OrdersController } from './orders.controller.js';
import { PaymentsService } from './payments.service.js';
import { ReportsJob } from './reports.job.js';
import { UnavailableFilter } from './unavailable.filter.js';

@Module({
  imports: [
    ConfigModule.forRoot(),
    ScheduleModule.forRoot(),
    ReplicaLockModule.forRootAsync({
      imports: [ConfigModule],
      inject: [ConfigService],
      useFactory: (config: ConfigService) => ({
        connection: config.getOrThrow<string>('REDIS_URL'),
        replicas: 2,
        waitTime: config.get<string>('LOCK_WAIT', '10s'),
        // For a Redis that starts together with the shop. Leave this option out in production.
        quarantine: Number(config.get('LOCK_QUARANTINE_MS', '0')),
      }),
    }),
  ],
  controllers: [OrdersController],
  providers: [Bank, PaymentsService, ReportsJob, { provide: APP_FILTER, useClass: UnavailableFilter }],
})
export class AppModule {}
