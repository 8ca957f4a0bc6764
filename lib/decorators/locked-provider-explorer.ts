import { Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, ModuleRef } from '@nestjs/core';
import type { LockService } from '../lock/lock-service.js';
import { getLockServiceToken } from './inject-lock-service.js';
import { giveService, neededBy } from './instance-services.js';

/**
 * Gives their services to objects that Nest did not construct (`useFactory`, `useValue`): property injection does not reach them. An object that two applications share locks with
 * the one that started last.
 */
@Injectable()
export class LockedProviderExplorer implements OnModuleInit {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly modules: ModuleRef,
  ) {}

  onModuleInit(): void {
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      const instance: unknown =
        wrapper.isNotMetatype && wrapper.isDependencyTreeStatic() ? wrapper.instance : undefined;
      if (typeof instance !== 'object' || instance === null) continue;
      for (const name of neededBy(instance)) {
        giveService(
          instance,
          name,
          this.modules.get<LockService>(getLockServiceToken(name), { strict: false }),
        );
      }
    }
  }
}
