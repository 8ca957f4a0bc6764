import { Controller, Get, Module, Param, Post } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { HealthCheck, HealthCheckService, type HealthCheckResult, TerminusModule } from '@nestjs/terminus';
import { LockService, ReplicaLocked, ReplicaLockInterceptor, ReplicaLockModule } from 'nestjs-replica-lock';
import { ReplicaLockHealthIndicator } from 'nestjs-replica-lock/health';
import { ReplicaLockTelemetryModule } from 'nestjs-replica-lock/telemetry';

/*
 * A health check, metrics and spans. `npm run sample:observability` starts Redis with two replicas
 * and the application:
 *
 *   curl -X POST localhost:3000/orders/7/pay       # 201 {"paid":"7"}
 *   curl -X POST localhost:3000/orders/7/invoice   # 201 {"invoice":"7"}
 *   curl localhost:3000/health
 *   curl localhost:9464/metrics
 */

@Controller('orders')
export class OrdersController {
  constructor(private readonly locks: LockService) {}

  /** The name in metrics and spans is the template, `order:{params.id}`. */
  @Post(':id/pay')
  @ReplicaLocked('order:{params.id}', { waitTime: '200ms' })
  async pay(@Param('id') id: string): Promise<{ paid: string }> {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return { paid: id };
  }

  /** The name is the label, `invoice:{order}`. Without the label the name would be `invoice:*`. */
  @Post(':id/invoice')
  invoice(@Param('id') id: string): Promise<{ invoice: string }> {
    return this.locks.withLock(`invoice:${id}`, { label: 'invoice:{order}' }, () => ({ invoice: id }));
  }
}

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly locks: ReplicaLockHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  check(): Promise<HealthCheckResult> {
    return this.health.check([() => this.locks.isHealthy('locks')]);
  }
}

@Module({
  imports: [
    ReplicaLockModule.forRootAsync({
      useFactory: () => ({
        connection: process.env['REDIS_URL'] ?? 'redis://localhost:6379',
        // In development Redis starts together with the sample, and locks need not wait after a restart.
        quarantine: process.env['NODE_ENV'] === 'development' ? 0 : undefined,
      }),
    }),
    ReplicaLockTelemetryModule,
    TerminusModule,
  ],
  controllers: [OrdersController, HealthController],
  providers: [
    ReplicaLockHealthIndicator,
    // Answers lock errors of a handler's own work (`invoice`) like those of a locked handler.
    { provide: APP_INTERCEPTOR, useClass: ReplicaLockInterceptor },
  ],
})
export class AppModule {}
