/**
 * `T` without optional properties. The type of an object that is copied property by property: the
 * compiler then names every copy that lacks a new property.
 */
export type Whole<T> = { [K in keyof Required<T>]: T[K] };
