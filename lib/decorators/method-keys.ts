import type { ExecutionContext } from '@nestjs/common';
import type { LockKeys } from '../lock/keys.js';

/**
 * The key of a locked method: a template, an array of templates, or a function. The function is
 * given the `ExecutionContext` on HTTP, WebSocket, microservice and GraphQL root handlers, and the
 * method's own arguments everywhere else.
 */
export type KeySource<A extends unknown[]> = string | readonly string[] | ((...args: A) => LockKeys);

/** Where the keys of one locked method come from. */
export interface MethodKeys {
  /** The lock's name in telemetry. Undefined if the key is a function. */
  readonly label: string | undefined;

  /**
   * The keys of a handler before its pipes run, from the raw request. Undefined if only the
   * method's call can tell them. Throws `LockKeyError`.
   */
  beforeCall(context: ExecutionContext): LockKeys | undefined;

  /**
   * The keys of a call of the method, in the handler of this context or as a plain method (without
   * a context). Throws `LockKeyError`.
   */
  ofCall(args: readonly unknown[], context: ExecutionContext | undefined): LockKeys;
}
