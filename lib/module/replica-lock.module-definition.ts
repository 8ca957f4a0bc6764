import { ConfigurableModuleBuilder } from '@nestjs/common';
import { APP_FILTER, ApplicationConfig, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { getExceptionFactoryToken, getLockServiceToken } from '../tokens.js';
import { errorFilterFor } from '../decorators/lock-error.filter.js';
import type { LockService } from '../lock/lock-service.js';
import { createLockService } from './create-lock-service.js';
import { LockLifecycle } from './lock-lifecycle.js';
import type { ReplicaLockModuleOptions } from './options.js';

/** What is known before any factory runs, and so stands beside it. */
export interface ReplicaLockModuleExtras {
  /** Names a further instance: injected with `@InjectLockService(name)`. */
  name?: string | undefined;
  /** Whether the module is global. Default: true. */
  isGlobal?: boolean | undefined;
}

export const REPLICA_LOCK_OPTIONS = Symbol('REPLICA_LOCK_OPTIONS');

export const { ConfigurableModuleClass, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<ReplicaLockModuleOptions>({ optionsInjectionToken: REPLICA_LOCK_OPTIONS })
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
