import {
  type BeforeApplicationShutdown,
  type InjectionToken,
  Logger,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { forgetService, offerService } from '../decorators/instance-services.js';
import { LockService } from '../lock/lock-service.js';
import { logLocks } from './lock-log.js';

/**
 * Starts and ends one `LockService` with its application. A class of its own, because Nest runs the
 * hooks once for every provider that holds the object, and users provide the service again under
 * other tokens.
 *
 * A test may put a plain object in the place of the service. Such an object is offered to locked
 * methods like a service, and has no connection to open or close.
 */
export class LockLifecycle implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown {
  constructor(
    private readonly service: LockService,
    private readonly name: string | undefined,
    private readonly token: InjectionToken,
    private readonly modules: ModulesContainer,
  ) {
    offerService(name, service);
    // Not at init: a lazily loaded module is never initialised, and the first use connects.
    if (this.isReal) logLocks(service, new Logger('ReplicaLock'));
    this.endWithApplication();
  }

  /**
   * Nest runs the hooks of the modules that it knew at the start, so those of a lazily loaded
   * module never run. The first module is Nest's own and always known, and Nest asks for its
   * providers when the hooks are due. In a module that is not loaded lazily the hooks below run
   * twice.
   */
  private endWithApplication(): void {
    const [core] = this.modules.values();
    core?.addProvider({ provide: Symbol('LockLifecycle'), useValue: this });
  }

  onModuleInit(): void {
    const siblings = [...this.modules.values()].filter(
      ({ providers }) => providers.has(LockLifecycle) && providers.has(this.token),
    );
    if (siblings.length > 1) {
      throw new Error(
        `ReplicaLockModule is imported ${siblings.length} times ${this.name === undefined ? 'without a name' : `as '${this.name}'`}: ` +
          'Nest would inject one of them and run the others idle. Import it once (it is global), or give the others a name.',
      );
    }
    if (this.isReal) this.service.open();
  }

  /**
   * The server still accepts requests, and jobs still fire: running work may end, and no new work
   * begins.
   */
  async beforeApplicationShutdown(): Promise<void> {
    if (this.isReal) await this.service.drain();
  }

  async onApplicationShutdown(): Promise<void> {
    forgetService(this.name, this.service);
    if (this.isReal) await this.service.close();
  }

  private get isReal(): boolean {
    return this.service instanceof LockService;
  }
}
