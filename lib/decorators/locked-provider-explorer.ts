import { Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, MetadataScanner, ModuleRef } from '@nestjs/core';
import { readOnceOptions } from '../lock/once-options.js';
import type { WithLockOptions } from '../lock/options.js';
import { LockService } from '../lock/lock-service.js';
import { checkAt } from './definition-checks.js';
import { methodsWith, prototypeOf } from './decorated-methods.js';
import { EventStreamGuard, guardEventStream } from './event-stream.guard.js';
import { giveService, neededBy } from './instance-services.js';
import { LOCKED_METHOD, type LockedMethod } from './locked-method.js';
import { ModuleServices } from './module-services.js';
import { ONCE_METHOD, type OnceMethod } from './once-method.js';

/**
 * Visits every object with locked methods once, when the application starts:
 * - gives the service to objects that Nest did not construct (`useFactory`, `useValue`), which
 *   property injection does not reach. An object that two applications share locks with the service
 *   of the application that started last;
 * - checks the options of the decorators against those of the service;
 * - guards event streams.
 */
@Injectable()
export class LockedProviderExplorer implements OnModuleInit {
  private readonly services: ModuleServices;

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    modules: ModuleRef,
  ) {
    this.services = new ModuleServices(modules);
    // Here and not in the hook below: Nest reads the guards of routes before it runs the hook.
    const guard = new EventStreamGuard(this.services);
    for (const { metatype } of discovery.getControllers())
      for (const { handler } of methodsWith(LOCKED_METHOD, scanner, metatype?.prototype))
        guardEventStream(handler, guard);
  }

  onModuleInit(): void {
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      const instance: unknown = wrapper.isDependencyTreeStatic() ? wrapper.instance : undefined;
      if (wrapper.isNotMetatype) this.giveServices(instance);
      const prototype: unknown = wrapper.isNotMetatype ? prototypeOf(instance) : wrapper.metatype?.prototype;
      for (const { method } of methodsWith<LockedMethod>(LOCKED_METHOD, this.scanner, prototype))
        this.checkOptions(method, method.options, '@ReplicaLocked');
      for (const { method } of methodsWith<OnceMethod>(ONCE_METHOD, this.scanner, prototype))
        this.checkOptions(method, readOnceOptions(method.options).lock, '@RunOnce');
    }
    for (const { metatype } of this.discovery.getControllers()) this.checkRoutes(metatype?.prototype);
  }

  private checkRoutes(prototype: unknown): void {
    const locked = methodsWith<LockedMethod>(LOCKED_METHOD, this.scanner, prototype);
    const once = methodsWith<OnceMethod>(ONCE_METHOD, this.scanner, prototype);
    for (const { handler, method } of locked)
      if (method.onContended !== 'throw') refuseUnsent(handler, method, '@ReplicaLocked with onContended');
    for (const { handler, method } of once) refuseUnsent(handler, method, '@RunOnce');
  }

  private giveServices(instance: unknown): void {
    if (typeof instance !== 'object' || instance === null) return;
    for (const name of neededBy(instance)) giveService(instance, name, this.services.serviceOf(name));
  }

  /**
   * A decorator may ask for more than this application's service permits, such as a longer lease.
   */
  private checkOptions(
    { instanceName, name }: LockedMethod | OnceMethod,
    options: WithLockOptions,
    decorator: string,
  ): void {
    const service = this.services.serviceOf(instanceName);
    // A test may have put a plain object in place of the service.
    if (!(service instanceof LockService)) return;
    checkAt(`${decorator} on ${name}`, () => service.checkOptions(options));
  }
}

/**
 * Throws `TypeError` for the handler of a route that writes its response by itself. Nest sends no
 * other answer for such a handler, so the caller would wait for ever if the handler does not run.
 */
function refuseUnsent(
  handler: object,
  { name, decorators }: LockedMethod | OnceMethod,
  decorator: string,
): void {
  if (!Reflect.hasMetadata('path', handler) || !decorators.writeResponse) return;
  throw new TypeError(
    `${decorator} on ${name}: the answer of a call that does not run the method would never be sent, because the handler writes its response by itself (@Res() or @Next()). ` +
      'Return the answer, or use @Res({ passthrough: true }).',
  );
}
