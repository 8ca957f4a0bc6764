import type { ExecutionContext } from '@nestjs/common';
import type { Observable } from 'rxjs';

// oxlint-disable-next-line typescript/no-explicit-any -- whatever the user's methods give
type Asynchronous = PromiseLike<any> | Observable<any> | AsyncIterableIterator<any> | void;

/** Streams are AsyncIterables, too, but what stands for one would lack everything else that a stream can do. */
type IsOnlyIterable<R> =
  R extends AsyncIterable<unknown> ? ([keyof R] extends [typeof Symbol.asyncIterator] ? true : false) : false;

/** The type of a key function's parameter that has no annotation: the compiler cannot take it from the method. */
export interface UnannotatedArgument {
  readonly 'annotate the parameters of the key function': never;
}

type IsAny<T> = 0 extends 1 & T ? true : false;

/** Compile-time refusals, worded as the property that is missing: the compiler prints it. */
export type Lockable<M, A extends unknown[]> = M extends (...args: infer P) => infer R
  ? [R] extends [Asynchronous]
    ? KeyArguments<P, A>
    : [IsOnlyIterable<R>] extends [true]
      ? KeyArguments<P, A>
      : { 'a locked method must return a Promise, an Observable or an AsyncIterable, not': R }
  : { 'only methods can be locked, not': M };

/** `A`: the key function's parameters; none of a template. `P`: the method's. */
type KeyArguments<P, A extends unknown[]> = A extends [] | [ExecutionContext]
  ? unknown
  : IsAny<A[number]> extends true
    ? unknown
    : A extends UnannotatedArgument[]
      ? { 'annotate the parameters of the key function, for example (order: Order) =>': P }
      : P extends readonly [...A, ...unknown[]]
        ? unknown
        : Partial<A> extends Partial<P>
          ? unknown
          : { "the key function does not take this method's arguments": P };

/**
 * What `@ReplicaLocked` returns: a method decorator that refuses methods that cannot be locked. Written on a method, the name of the property is a literal, and the method is
 * checked; given to `applyDecorators` or returned as a `MethodDecorator`, the name is any and the method is not known.
 */
export type LockedDecorator<A extends unknown[]> = <M, K extends string | symbol>(
  target: object,
  property: K,
  descriptor: TypedPropertyDescriptor<M> & (string extends K ? unknown : Lockable<M, A>),
) => void;
