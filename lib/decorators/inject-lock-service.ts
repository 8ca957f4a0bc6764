import { Inject } from '@nestjs/common';
import { getLockServiceToken } from '../tokens.js';

/**
 * Injects the `LockService` of a named instance of the module.
 * @param name The instance's name. Without a name, the unnamed instance's service is injected.
 * @example
 * ```ts
 * constructor(@InjectLockService('payments') private readonly locks: LockService) {}
 * ```
 */
export function InjectLockService(name?: string): PropertyDecorator & ParameterDecorator {
  return Inject(getLockServiceToken(name));
}
