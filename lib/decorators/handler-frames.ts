import { AsyncLocalStorage } from 'node:async_hooks';
import type { ExecutionContext } from '@nestjs/common';
import type { Lock } from '../lock/lock.js';
import type { LockedMethod } from './locked-method.js';
import type { ResultKind } from './result-kind.js';

/** A locked handler that was reached through its interceptor. */
export interface LockedHandler {
  /** Recognises the method below the interceptor, whatever functions stand between them. */
  readonly method: LockedMethod;
  readonly context: ExecutionContext;
  /** The interceptor's lock. Undefined before the method takes one that its arguments name. */
  readonly lock: Lock | undefined;
  /** Runs the method as Nest calls it: under the interceptor's lock, or under one that its arguments name. */
  call(instance: object, args: unknown[], original: Original, kind: ResultKind): unknown;
}

export type Original = (...args: unknown[]) => unknown;

export interface HandlerFrame {
  readonly handler: LockedHandler;
  /** The object whose method runs; undefined before the method was entered. What the method itself starts is no call of Nest: another call of it locks (or joins) for itself. */
  readonly instance: object | undefined;
}

/** How the interceptor tells the method below it what it did: a handler is locked once, whichever way it is reached. */
export const handlerFrames = new AsyncLocalStorage<HandlerFrame>();

/** Stands for the lock among a handler's arguments until the method has taken it. */
export const LOCK_TO_COME = Symbol('the lock that the method is about to take');
