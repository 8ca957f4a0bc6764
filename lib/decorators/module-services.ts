import type { ModuleRef } from '@nestjs/core';
import type { LockService } from '../lock/lock-service.js';
import type { LockExceptionFactory } from './error-responses.js';
import { getExceptionFactoryToken, getLockServiceToken } from '../tokens.js';

/** The providers of one application that decorated handlers need, by instance name. */
export class ModuleServices {
  private readonly services = new Map<string | undefined, LockService>();

  constructor(private readonly modules: ModuleRef) {}

  serviceOf(name: string | undefined): LockService {
    let service = this.services.get(name);
    if (service === undefined) {
      service = this.modules.get<LockService>(getLockServiceToken(name), { strict: false });
      this.services.set(name, service);
    }
    return service;
  }

  exceptionFactoryOf(name: string | undefined): LockExceptionFactory | undefined {
    try {
      return this.modules.get(getExceptionFactoryToken(name), { strict: false });
    } catch {
      // All instances of the module have names, and this handler asks for the unnamed instance.
      return undefined;
    }
  }
}
