import { AsyncLocalStorage } from 'node:async_hooks';
import type { ExecutionContext } from '@nestjs/common';
import type { OnceOptions } from '../lock/once-options.js';
import type { ArgumentDecorators } from './argument-decorators.js';
import type { MethodKeys } from './method-keys.js';

/** Metadata of a function that runs once: its `OnceMethod`. */
export const ONCE_METHOD = 'nestjs-replica-lock:once-method';

/** The options of `@RunOnce`: those of `LockService.once`, and the instance. */
export interface RunOnceOptions extends OnceOptions {
  /**
   * The name of the module instance whose `LockService` runs the method once.
   * @default the unnamed instance
   */
  name?: string | undefined;
}

/** One method that runs once: everything that its `@RunOnce` says. */
export class OnceMethod {
  readonly options: OnceOptions;
  /** The name of the module instance; undefined for the unnamed one. */
  readonly instanceName: string | undefined;

  constructor(
    /** Class and method, for messages. */
    readonly name: string,
    readonly keys: MethodKeys,
    /** The decorators of the method's arguments. */
    readonly decorators: ArgumentDecorators,
    { name: instanceName, ...options }: RunOnceOptions,
  ) {
    this.instanceName = instanceName;
    this.options = Object.freeze({ label: keys.label ?? name, ...options });
  }
}

/**
 * How the interceptor hands the handler's context to the method, which fills its key from the
 * request. The method recognises itself: a provider that the handler calls has no request.
 */
export const onceFrames = new AsyncLocalStorage<{
  readonly method: OnceMethod;
  readonly context: ExecutionContext;
}>();
