import { ConfigurableModuleBuilder } from '@nestjs/common';
import { APP_FILTER, ApplicationConfig, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { getExceptionFactoryToken, getLockServiceToken } from '../tokens.js';
import { errorFilterFor } from '../decorators/lock-error.filter.js';
import type { LockService } from '../lock/lock-service.js';
import { createLockService } from './create-lock-service.js';
import { LockLifecycle } from './lock-lifecycle.js';
import type { ReplicaLockModuleOptions } from './options.js';

/** Options that must be known before a factory runs, and are therefore given beside it. */
export interface ReplicaLockModuleExtras {
  /**
   * Names a further instance, which is injected with `@InjectLockService(name)`.
   *
   * @default none: the instance that is injected by the class `LockService`
   */
  name?: string | undefined;
  /**
   * Makes the module global: its service can be injected in every module.
   *
   * @default true
   */
  isGlobal?: boolean | undefined;
}

export const REPLICA_LOCK_OPTIONS = Symbol('REPLICA_LOCK_OPTIONS');

export const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<ReplicaLockModuleOptions>({
  optionsInjectionToken: REPLICA_LOCK_OPTIONS,
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createReplicaLockOptions')
  .setExtras<ReplicaLockModuleExtras>(
    { name: undefined, isGlobal: true },
    (definition, { name, isGlobal }) => {
      const token = getLockServiceToken(name);
      return {
        ...definition,
        global: isGlobal ?? true,
        providers: [
          ...(definition.providers ?? []),
          { provide: token, useFactory: createLockService, inject: [REPLICA_LOCK_OPTIONS] },
          {
            provide: getExceptionFactoryToken(name),
            useFactory: (options?: ReplicaLockModuleOptions) => options?.exceptionFactory,
            inject: [REPLICA_LOCK_OPTIONS],
          },
          {
            provide: APP_FILTER,
            useFactory: errorFilterFor,
            inject: [REPLICA_LOCK_OPTIONS, HttpAdapterHost, ApplicationConfig, ModulesContainer],
          },
          {
            provide: LockLifecycle,
            useFactory: (service: LockService, modules: ModulesContainer) =>
              new LockLifecycle(service, name, token, modules),
            inject: [token, ModulesContainer],
          },
        ],
        exports: [...(definition.exports ?? []), token],
      };
    },
  )
  .build();
