import type { InjectionToken } from '@nestjs/common';
import { LockService } from './lock/lock-service.js';

/** The injection token of a `LockService`: the class itself, or a string for a named instance. */
export function getLockServiceToken(name?: string): InjectionToken<LockService> {
  return name === undefined ? LockService : `ReplicaLockService_${name}`;
}

/** The injection token of an instance's `exceptionFactory`. */
export function getExceptionFactoryToken(name?: string): InjectionToken {
  return `ReplicaLockExceptionFactory_${name ?? ''}`;
}
