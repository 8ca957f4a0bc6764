import { AsyncLocalStorage } from 'node:async_hooks';
import type { ExecutionContext } from '@nestjs/common';
import type { Lock } from '../lock/lock.js';
import type { LockedMethod } from './locked-method.js';
import type { ResultKind } from './result-kind.js';

/** One invocation of a locked handler that Nest called through its interceptor. */
export interface LockedHandler {
  /**
   * The locked method, which recognises itself by this: any number of wrappers may stand between
   * the interceptor and the method.
   */
  readonly method: LockedMethod;
  readonly context: ExecutionContext;
  /**
   * The interceptor's lock. Undefined if only the arguments name the key: the method takes the
   * lock.
   */
  readonly lock: Lock | undefined;
  /**
   * Calls the method for Nest: under the interceptor's lock, or under a lock whose key the
   * arguments name.
   */
  call(instance: object, args: unknown[], original: Original, kind: ResultKind): unknown;
}

export type Original = (...args: unknown[]) => unknown;

/** The handler that the asynchronous context below an interceptor belongs to. */
export interface HandlerFrame {
  readonly handler: LockedHandler;
  /**
   * The object whose method runs; undefined until Nest's call has reached the method. A further
   * call that the method itself makes is not Nest's: that call locks (or joins a lock) on its own.
   */
  readonly instance: object | undefined;
}

/** How the interceptor tells the method that the lock is taken: a handler is locked once. */
export const handlerFrames = new AsyncLocalStorage<HandlerFrame>();

/** Placeholder among a handler's arguments until the method has taken the lock. */
export const LOCK_TO_COME = Symbol('the lock that the method is about to take');
