import { type DynamicModule, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { LockErrorFilterOrder } from '../decorators/lock-error.filter.js';
import { LockedProviderExplorer } from '../decorators/locked-provider-explorer.js';
import {
  type ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  type OPTIONS_TYPE,
} from './replica-lock.module-definition.js';
import type { ReplicaLockModuleOptions } from './options.js';

/** For `useClass` and `useExisting` of `forRootAsync`. */
export interface ReplicaLockOptionsFactory {
  createReplicaLockOptions(): ReplicaLockModuleOptions | Promise<ReplicaLockModuleOptions>;
}

/** Provides `LockService` and what `@ReplicaLocked` needs. Global unless told otherwise. */
@Module({ imports: [DiscoveryModule, LockErrorFilterOrder], providers: [LockedProviderExplorer] })
export class ReplicaLockModule extends ConfigurableModuleClass {
  /**
   * ```ts
   * ReplicaLockModule.forRoot({ connection: 'redis://localhost:6379' })
   * ```
   */
  static override forRoot(options: typeof OPTIONS_TYPE): DynamicModule {
    return super.forRoot(options);
  }

  /**
   * The options come from `useFactory` (with `inject` and `imports`), `useClass` or `useExisting`; `name` and `isGlobal` stand beside them.
   *
   * ```ts
   * ReplicaLockModule.forRootAsync({ inject: [ConfigService], useFactory: (config) => ({ connection: config.get('REDIS_URL') }) })
   * ```
   */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return super.forRootAsync(options);
  }
}
