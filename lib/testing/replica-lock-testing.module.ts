import { type DynamicModule, type InjectionToken, Module } from '@nestjs/common';
import {
  APP_FILTER,
  ApplicationConfig,
  DiscoveryModule,
  HttpAdapterHost,
  ModulesContainer,
} from '@nestjs/core';
import { getExceptionFactoryToken, getLockServiceToken } from '../tokens.js';
import { errorFilterFor, LockErrorFilterOrder } from '../decorators/lock-error.filter.js';
import { LeaderExplorer } from '../decorators/leader-explorer.js';
import { LockedProviderExplorer } from '../decorators/locked-provider-explorer.js';
import type { LockService } from '../lock/lock-service.js';
import { LockLifecycle } from '../module/lock-lifecycle.js';
import { TestLocks, type TestLocksOptions } from './test-locks.js';

/** The injection token of a named instance's `TestLocks`. Without a name: the class itself. */
export function getTestLocksToken(name?: string): InjectionToken<TestLocks> {
  return name === undefined ? TestLocks : `ReplicaLockTestLocks_${name}`;
}

/**
 * Replaces `ReplicaLockModule` in a test. Locks are kept in memory, and the test controls them
 * through `TestLocks`.
 * @example
 * ```ts
 * const module = await Test.createTestingModule({
 *   imports: [ReplicaLockTestingModule.forRoot()],
 *   providers: [Reports],
 * }).compile();
 * const locks = module.get(TestLocks);
 * ```
 */
@Module({
  imports: [DiscoveryModule, LockErrorFilterOrder],
  providers: [LockedProviderExplorer, LeaderExplorer],
})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module
export class ReplicaLockTestingModule {
  /**
   * The module for a test, which is global. With `name` the module is a named instance: get its
   * `TestLocks` with `getTestLocksToken(name)`.
   * @throws LockOptionsError when the module is compiled, if an option is unknown or wrong.
   */
  static forRoot({ name, ...options }: TestLocksOptions & { name?: string } = {}): DynamicModule {
    const token = getLockServiceToken(name);
    const testToken = getTestLocksToken(name);
    return {
      module: ReplicaLockTestingModule,
      global: true,
      providers: [
        { provide: testToken, useFactory: () => new TestLocks(options) },
        { provide: token, useFactory: (locks: TestLocks) => locks.service, inject: [testToken] },
        { provide: getExceptionFactoryToken(name), useValue: options.exceptionFactory },
        {
          provide: APP_FILTER,
          useFactory: (adapterHost: HttpAdapterHost, config: ApplicationConfig, modules: ModulesContainer) =>
            errorFilterFor(options, adapterHost, config, modules),
          inject: [HttpAdapterHost, ApplicationConfig, ModulesContainer],
        },
        {
          provide: LockLifecycle,
          useFactory: (service: LockService, modules: ModulesContainer) =>
            new LockLifecycle(service, name, token, modules),
          inject: [token, ModulesContainer],
        },
      ],
      exports: [token, testToken],
    };
  }
}
