import { Inject } from '@nestjs/common';
import { getLockServiceToken } from '../tokens.js';

/** Injects the `LockService` of a named instance, or the unnamed one: `constructor(@InjectLockService('payments') locks: LockService)`. */
export function InjectLockService(name?: string): PropertyDecorator & ParameterDecorator {
  return Inject(getLockServiceToken(name));
}
