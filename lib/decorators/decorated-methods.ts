import type { MetadataScanner } from '@nestjs/core';
import type { Original } from './handler-frames.js';

/** A method of a class, and what its decorator says. */
export interface DecoratedMethod<M> {
  readonly property: string;
  readonly handler: Original;
  readonly method: M;
}

/** The methods of the prototype whose functions have this metadata, inherited methods included. */
export function methodsWith<M>(
  metadata: string,
  scanner: MetadataScanner,
  prototype: unknown,
): DecoratedMethod<M>[] {
  if (typeof prototype !== 'object' || prototype === null) return [];
  return scanner.getAllMethodNames(prototype).flatMap((property) => {
    const handler = (prototype as Record<string, Original>)[property]!;
    const method = Reflect.getMetadata(metadata, handler) as M | undefined;
    return method === undefined ? [] : [{ property, handler, method }];
  });
}

/** The prototype of an object; undefined for anything else. */
export function prototypeOf(instance: unknown): unknown {
  return typeof instance === 'object' && instance !== null ? Object.getPrototypeOf(instance) : undefined;
}
