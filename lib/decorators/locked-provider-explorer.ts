import { Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, MetadataScanner, ModuleRef } from '@nestjs/core';
import { LockOptionsError } from '../lock/errors.js';
import { LockService } from '../lock/lock-service.js';
import { getLockServiceToken } from './inject-lock-service.js';
import { giveService, neededBy } from './instance-services.js';
import { LOCKED_METHOD } from './locked-metadata.js';
import type { LockedMethod } from './locked-method.js';

/**
 * Looks at every object with locked methods once, when the application starts: gives their services
 * to those that Nest did not construct (`useFactory`, `useValue`), which property injection does not
 * reach, and checks the decorators' options against those of the service. An object that two
 * applications share locks with the one that started last.
 */
@Injectable()
export class LockedProviderExplorer implements OnModuleInit {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly modules: ModuleRef,
  ) {}

  onModuleInit(): void {
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      const instance: unknown = wrapper.isDependencyTreeStatic() ? wrapper.instance : undefined;
      if (wrapper.isNotMetatype) this.giveServices(instance);
      this.checkOptions(wrapper.isNotMetatype ? prototypeOf(instance) : wrapper.metatype?.prototype);
    }
  }

  private giveServices(instance: unknown): void {
    if (typeof instance !== 'object' || instance === null) return;
    for (const name of neededBy(instance)) giveService(instance, name, this.serviceOf(name));
  }

  /** A decorator may ask for more than this application's service permits. */
  private checkOptions(prototype: unknown): void {
    if (typeof prototype !== 'object' || prototype === null) return;
    for (const name of this.scanner.getAllMethodNames(prototype)) {
      const handler = (prototype as Record<string, unknown>)[name] as object;
      const method = Reflect.getMetadata(LOCKED_METHOD, handler) as LockedMethod | undefined;
      if (method === undefined) continue;
      const service = this.serviceOf(method.instanceName);
      // A test may have put a plain object in its place.
      if (!(service instanceof LockService)) continue;
      try {
        service.checkOptions(method.options);
      } catch (error) {
        throw error instanceof LockOptionsError ? error.of(`@ReplicaLocked on ${method.name}`) : error;
      }
    }
  }

  private serviceOf(name: string | undefined): LockService {
    return this.modules.get<LockService>(getLockServiceToken(name), { strict: false });
  }
}

function prototypeOf(instance: unknown): unknown {
  return typeof instance === 'object' && instance !== null ? Object.getPrototypeOf(instance) : undefined;
}
