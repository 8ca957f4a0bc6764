import { type ConfigurableModuleAsyncOptions, type DynamicModule, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { LockErrorFilterOrder } from '../decorators/lock-error.filter.js';
import { LeaderExplorer } from '../decorators/leader-explorer.js';
import { LockedProviderExplorer } from '../decorators/locked-provider-explorer.js';
import type { ReplicaLockModuleOptions } from './options.js';
import { ConfigurableModuleClass, type ReplicaLockModuleExtras } from './replica-lock.module-definition.js';

/** For `useClass` and `useExisting` of `forRootAsync`. */
export interface ReplicaLockOptionsFactory {
  createReplicaLockOptions(): ReplicaLockModuleOptions | Promise<ReplicaLockModuleOptions>;
}

/**
 * Provides `LockService` and what `@ReplicaLocked` needs. Global unless `isGlobal` is false.
 *
 * The application does not start if an option is not accepted: the factory of the service rejects
 * with `LockOptionsError`.
 */
@Module({
  imports: [DiscoveryModule, LockErrorFilterOrder],
  providers: [LockedProviderExplorer, LeaderExplorer],
})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module
export class ReplicaLockModule {
  /**
   * ```ts
   * ReplicaLockModule.forRoot({ connection: 'redis://localhost:6379' })
   * ```
   */
  static forRoot(options: ReplicaLockModuleOptions & ReplicaLockModuleExtras): DynamicModule {
    return { ...ConfigurableModuleClass.forRoot(options), module: this };
  }

  /**
   * The options come from `useFactory` (with `inject` and `imports`), `useClass` or `useExisting`.
   * `name` and `isGlobal` are given beside them.
   *
   * ```ts
   * ReplicaLockModule.forRootAsync({
   *   inject: [ConfigService],
   *   useFactory: (config) => ({ connection: config.get('REDIS_URL') }),
   * })
   * ```
   */
  static forRootAsync(
    options: ConfigurableModuleAsyncOptions<ReplicaLockModuleOptions, 'createReplicaLockOptions'> &
      ReplicaLockModuleExtras,
  ): DynamicModule {
    return { ...ConfigurableModuleClass.forRootAsync(options), module: this };
  }
}
