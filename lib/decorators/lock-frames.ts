import { AsyncLocalStorage } from 'node:async_hooks';
import type { Lock } from '../lock/lock.js';

/** A handler that the interceptor has locked and that is about to run. */
export interface HandlerFrame {
  /** The handler's function, as Nest calls it. */
  readonly handler: unknown;
  readonly lock: Lock;
  /** The handler was entered: any further call of it is one of its own work, and locks (or joins) for itself. */
  isEntered: boolean;
}

/** How the interceptor tells the method below it that it is locked already: a handler is locked once, whichever way it is reached. */
export const handlerFrames = new AsyncLocalStorage<HandlerFrame>();
