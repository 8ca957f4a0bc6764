import { type DynamicModule, Inject, Module, type OnModuleInit, Optional } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { metrics, trace, type MeterProvider, type TracerProvider } from '@opentelemetry/api';
import { getLockServiceToken } from '../decorators/inject-lock-service.js';
import type { LockService } from '../lock/lock-service.js';
import { observeLocks } from './lock-telemetry.js';

export interface ReplicaLockTelemetryOptions {
  /** Where the metrics go. Default: the global provider at the start of the application. */
  meterProvider?: MeterProvider | undefined;
  /** Where the spans go. Default: the global provider. */
  tracerProvider?: TracerProvider | undefined;
}

const OPTIONS = Symbol('REPLICA_LOCK_TELEMETRY_OPTIONS');
const SCOPE = 'nestjs-replica-lock';

/**
 * Gives OpenTelemetry the metrics and spans of every `LockService` of the application. Import it once, beside `ReplicaLockModule`; the SDK must be set
 * up before the application starts, as its own documentation says.
 *
 * ```ts
 * @Module({ imports: [ReplicaLockModule.forRoot({ ... }), ReplicaLockTelemetryModule] })
 * ```
 */
@Module({})
export class ReplicaLockTelemetryModule implements OnModuleInit {
  constructor(
    @Inject(ModulesContainer) private readonly modules: ModulesContainer,
    @Optional() @Inject(OPTIONS) private readonly options: ReplicaLockTelemetryOptions | undefined,
  ) {}

  /** With providers of your own in place of the global ones. */
  static forRoot(options: ReplicaLockTelemetryOptions): DynamicModule {
    return { module: ReplicaLockTelemetryModule, providers: [{ provide: OPTIONS, useValue: options }] };
  }

  onModuleInit(): void {
    const meter = (this.options?.meterProvider ?? metrics).getMeter(SCOPE);
    const tracer = (this.options?.tracerProvider ?? trace).getTracer(SCOPE);
    for (const [name, service] of this.services()) observeLocks(service, name, meter, tracer);
  }

  private services(): Map<string, LockService> {
    const unnamed = getLockServiceToken();
    const namedBegin = getLockServiceToken('') as string;
    const found = new Map<string, LockService>();
    for (const { providers } of this.modules.values()) {
      for (const [token, { instance }] of providers) {
        const isNamed = typeof token === 'string' && token.startsWith(namedBegin);
        if (token !== unnamed && !isNamed) continue;
        found.set(isNamed ? token.slice(namedBegin.length) : 'default', instance as LockService);
      }
    }
    return found;
  }
}
