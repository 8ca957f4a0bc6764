import type { ExecutionContext } from '@nestjs/common';
import type { Observable } from 'rxjs';

// oxlint-disable-next-line typescript/no-explicit-any -- any result of the user's methods
type Asynchronous = PromiseLike<any> | Observable<any> | AsyncIterableIterator<any> | void;

/**
 * True for a type whose only member is `[Symbol.asyncIterator]`. A stream is an AsyncIterable with
 * more members, which the locked result would lack.
 */
type IsOnlyIterable<R> =
  R extends AsyncIterable<unknown> ? ([keyof R] extends [typeof Symbol.asyncIterator] ? true : false) : false;

/**
 * The type of a key function's parameter without an annotation: the compiler cannot infer the type
 * from the method.
 */
export interface UnannotatedArgument {
  readonly 'annotate the parameters of the key function': never;
}

type IsAny<T> = 0 extends 1 & T ? true : false;

/**
 * Refuses a method at compile time if a lock cannot be put around it. The reason is the name of a
 * missing property, because the compiler prints that name.
 */
export type Lockable<M, A extends unknown[]> = M extends (...args: infer P) => infer R
  ? [R] extends [Asynchronous]
    ? KeyArguments<P, A>
    : [IsOnlyIterable<R>] extends [true]
      ? KeyArguments<P, A>
      : { 'a locked method must return a Promise, an Observable or an AsyncIterable, not': R }
  : { 'only methods can be locked, not': M };

/** As `Lockable`, for a method whose result is kept. */
export type Keepable<M, A extends unknown[]> = M extends (...args: infer P) => infer R
  ? [R] extends [PromiseLike<unknown>]
    ? KeyArguments<P, A>
    : { 'a method that runs once must return a Promise, not': R }
  : { 'only methods can run once, not': M };

/** `A`: the parameters of the key function (a template has none). `P`: those of the method. */
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
 * The type of `@ReplicaLocked(...)`: a method decorator that the compiler checks against the
 * method. Directly on a method the property's name is a literal type, and the method is checked.
 * Inside `applyDecorators`, or as a `MethodDecorator`, the name is any string: the method is
 * unknown then.
 */
export type LockedDecorator<A extends unknown[]> = <M, K extends string | symbol>(
  target: object,
  property: K,
  descriptor: TypedPropertyDescriptor<M> & (string extends K ? unknown : Lockable<M, A>),
) => void;

/** The type of `@RunOnce(...)`: see `LockedDecorator`. */
export type OnceDecorator<A extends unknown[]> = <M, K extends string | symbol>(
  target: object,
  property: K,
  descriptor: TypedPropertyDescriptor<M> & (string extends K ? unknown : Keepable<M, A>),
) => void;
