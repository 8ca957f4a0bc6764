import 'reflect-metadata';

/** What a method returns, as far as its definition tells. `either`: only a call shows whether it is a promise or an Observable. */
export type ResultKind = 'promise' | 'observable' | 'iterable' | 'either';

/**
 * Reads the kind of a method's result from the function itself, then from the type that the compiler emitted for it. Compilers emit none without `emitDecoratorMetadata`
 * (esbuild, tsx), for a type that is only imported as a type, and for an inferred one.
 */
export function resultKindOf(target: object, property: string | symbol, method: object): ResultKind {
  const tag = Object.prototype.toString.call(method);
  if (tag === '[object AsyncFunction]') return 'promise';
  if (tag === '[object AsyncGeneratorFunction]') return 'iterable';
  const type: unknown = Reflect.getOwnMetadata('design:returntype', target, property);
  if (type === Promise) return 'promise';
  return isObservableClass(type) ? 'observable' : 'either';
}

/** Also a subclass, and the class of another copy of rxjs. */
function isObservableClass(type: unknown): boolean {
  if (typeof type !== 'function') return false;
  const { subscribe, lift } = (type.prototype ?? {}) as { subscribe?: unknown; lift?: unknown };
  return typeof subscribe === 'function' && typeof lift === 'function';
}
