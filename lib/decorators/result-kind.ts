import 'reflect-metadata';

/**
 * The kind of result that a method's definition promises. `either`: only a call shows if the result
 * is a promise, an Observable or an AsyncIterable.
 */
export type ResultKind = 'promise' | 'observable' | 'iterable' | 'either';

/**
 * Reads the kind of a method's result from the function itself, then from the return type that the
 * compiler emitted. No type is emitted without `emitDecoratorMetadata` (esbuild, tsx), for a type
 * that is only imported as a type, and for an inferred type.
 */
export function resultKindOf(target: object, property: string | symbol, method: object): ResultKind {
  const tag = Object.prototype.toString.call(method);
  if (tag === '[object AsyncFunction]') return 'promise';
  if (tag === '[object AsyncGeneratorFunction]') return 'iterable';
  const type: unknown = Reflect.getOwnMetadata('design:returntype', target, property);
  if (type === Promise) return 'promise';
  return isObservableClass(type) ? 'observable' : 'either';
}

/** True also for a subclass of Observable, and for the class of another copy of rxjs. */
function isObservableClass(type: unknown): boolean {
  if (typeof type !== 'function') return false;
  const { subscribe, lift } = (type.prototype ?? {}) as { subscribe?: unknown; lift?: unknown };
  return typeof subscribe === 'function' && typeof lift === 'function';
}
