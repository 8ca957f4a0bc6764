import { type DynamicModule, Inject, Module, type OnModuleInit, Optional } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { metrics, trace, type MeterProvider, type TracerProvider } from '@opentelemetry/api';
import { getLockServiceToken } from '../tokens.js';
import { LockService } from '../lock/lock-service.js';
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
    for (const [service, name] of this.services()) observeLocks(service, name, meter, tracer);
  }

  /** Every service with its name. One that is provided again as the unnamed one keeps its name. */
  private services(): Map<LockService, string> {
    const unnamed = getLockServiceToken();
    const namedBegin = getLockServiceToken('') as string;
    const found = new Map<LockService, string>();
    for (const { providers } of this.modules.values()) {
      for (const [token, { instance }] of providers) {
        const isNamed = typeof token === 'string' && token.startsWith(namedBegin);
        if (token !== unnamed && !isNamed) continue;
        // A test may have put a plain object in its place.
        if (!(instance instanceof LockService)) continue;
        if (isNamed) found.set(instance, token.slice(namedBegin.length));
        else if (!found.has(instance)) found.set(instance, 'default');
      }
    }
    return found;
  }
}
