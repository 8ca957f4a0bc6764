import { type DynamicModule, Inject, Module, type OnModuleInit, Optional } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { metrics, trace, type MeterProvider, type TracerProvider } from '@opentelemetry/api';
import { getLockServiceToken } from '../tokens.js';
import { LockService } from '../lock/lock-service.js';
import { observeLocks } from './lock-telemetry.js';

/** The options of `ReplicaLockTelemetryModule.forRoot`. */
export interface ReplicaLockTelemetryOptions {
  /**
   * The provider for the metrics.
   * @default the global provider when the application starts
   */
  meterProvider?: MeterProvider | undefined;
  /**
   * The provider for the spans.
   * @default the global provider
   */
  tracerProvider?: TracerProvider | undefined;
}

const OPTIONS = Symbol('REPLICA_LOCK_TELEMETRY_OPTIONS');
const SCOPE = 'nestjs-replica-lock';

/**
 * Reports metrics and spans of every `LockService` of the application to OpenTelemetry. Import the
 * module once, beside `ReplicaLockModule`. Set up the OpenTelemetry SDK before the application
 * starts: https://opentelemetry.io/docs/languages/js/getting-started/nodejs/
 * @example
 * ```ts
 * @Module({
 *   imports: [ReplicaLockModule.forRoot({ connection: url }), ReplicaLockTelemetryModule],
 * })
 * export class AppModule {}
 * ```
 */
@Module({})
export class ReplicaLockTelemetryModule implements OnModuleInit {
  constructor(
    @Inject(ModulesContainer) private readonly modules: ModulesContainer,
    @Optional() @Inject(OPTIONS) private readonly options: ReplicaLockTelemetryOptions | undefined,
  ) {}

  /** The module with providers of your own in place of the global ones. */
  static forRoot(options: ReplicaLockTelemetryOptions): DynamicModule {
    return { module: ReplicaLockTelemetryModule, providers: [{ provide: OPTIONS, useValue: options }] };
  }

  onModuleInit(): void {
    const meter = (this.options?.meterProvider ?? metrics).getMeter(SCOPE);
    const tracer = (this.options?.tracerProvider ?? trace).getTracer(SCOPE);
    for (const [service, name] of this.services()) observeLocks(service, name, meter, tracer);
  }

  /**
   * Every service with its name. A named service that is also provided as the unnamed service keeps
   * its name.
   */
  private services(): Map<LockService, string> {
    const unnamed = getLockServiceToken();
    const namedBegin = getLockServiceToken('') as string;
    const found = new Map<LockService, string>();
    for (const { providers } of this.modules.values()) {
      for (const [token, { instance }] of providers) {
        const isNamed = typeof token === 'string' && token.startsWith(namedBegin);
        if (token !== unnamed && !isNamed) continue;
        // A test may have put a plain object in place of the service.
        if (!(instance instanceof LockService)) continue;
        if (isNamed) found.set(instance, token.slice(namedBegin.length));
        else if (!found.has(instance)) found.set(instance, 'default');
      }
    }
    return found;
  }
}
