import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { APP_FILTER } from '@nestjs/core';
import { ScheduleModule } from '@nestjs/schedule';
import { type Duration, ReplicaLockModule } from 'nestjs-replica-lock';
import { Bank } from './bank.js';
import { OrdersController } from './orders.controller.js';
import { PaymentsService } from './payments.service.js';
import { redisSettings } from './redis-settings.js';
import { ReportsJob } from './reports.job.js';
import { UnavailableFilter } from './unavailable.filter.js';
import { UsualLock } from './usual-lock.js';

/*
 * A shop that must not charge an order twice.
 *
 * `npm run sample:shop` starts Redis with two replicas, a bank, and two copies of the shop on the
 * ports 3000 and 3001:
 *
 *   curl localhost:3000/orders/ready                       # 200 ready
 *   curl -X POST localhost:3000/orders/7/pay               # 201 {"order":"7","status":"charged","confirmedBy":2}
 *   curl -X POST localhost:3001/orders/7/pay               # 201 {"order":"7","status":"already paid","confirmedBy":2}
 *   curl -X POST localhost:3001/orders/8/pay-in-service    # 201 {"order":"8","status":"charged","confirmedBy":2}
 *
 * Two requests at once, with the lock and without. The bank counts the charges, at the address that
 * the command prints:
 *
 *   curl -X POST localhost:3000/orders/9/pay & curl -X POST localhost:3001/orders/9/pay
 *   curl -X POST localhost:3000/orders/10/pay-unlocked & curl -X POST localhost:3001/orders/10/pay-unlocked
 */

@Module({
  imports: [
    ConfigModule.forRoot(),
    ScheduleModule.forRoot(),
    ReplicaLockModule.forRootAsync({
      imports: [ConfigModule],
      inject: [ConfigService],
      useFactory: (config: ConfigService) => ({
        ...redisSettings(config),
        leaseTime: config.get<Duration>('LOCK_LEASE', '15000'),
        waitTime: config.get<Duration>('LOCK_WAIT', '10000'),
        // In development Redis starts together with the shop, and locks need not wait after a restart.
        quarantine: config.get('NODE_ENV') === 'development' ? 0 : undefined,
      }),
    }),
  ],
  controllers: [OrdersController],
  providers: [
    Bank,
    PaymentsService,
    UsualLock,
    ReportsJob,
    { provide: APP_FILTER, useClass: UnavailableFilter },
  ],
})
export class AppModule {}
