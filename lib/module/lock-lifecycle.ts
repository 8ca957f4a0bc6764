import {
  type BeforeApplicationShutdown,
  type InjectionToken,
  Logger,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { LockService } from '../lock/lock-service.js';
import { logLocks } from './lock-log.js';

/**
 * Starts and ends one `LockService` with its application. A class of its own, because Nest runs the hooks once for every provider that holds the object, and users re-provide
 * the service.
 */
export class LockLifecycle implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown {
  constructor(
    private readonly service: LockService,
    private readonly token: InjectionToken,
    private readonly modules: ModulesContainer,
  ) {}

  onModuleInit(): void {
    const siblings = [...this.modules.values()].filter(
      ({ providers }) => providers.has(LockLifecycle) && providers.has(this.token),
    );
    if (siblings.length > 1) {
      throw new Error(
        `ReplicaLockModule is imported ${siblings.length} times ${typeof this.token === 'string' ? `as ${this.token}` : 'without a name'}: ` +
          'Nest would inject one of them and run the others idle. Import it once (it is global), or give the others a name.',
      );
    }
    logLocks(this.service, new Logger('ReplicaLock'));
    this.service.open();
  }

  /** The server still accepts requests, and jobs still fire: running work may end, nothing new begins. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.service.drain();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.service.close();
  }
}
