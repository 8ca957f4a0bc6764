/** Values that code may throw, and that cannot be made a text in the usual ways. */
export const UNPRINTABLE: readonly (readonly [string, unknown])[] = [
  ['an object without a prototype', Object.create(null)],
  ['a symbol', Symbol('s')],
  ['undefined', undefined],
  [
    'an object whose toString throws',
    {
      toString(): string {
        throw new Error('toString');
      },
    },
  ],
  [
    'an error whose stack throws',
    Object.defineProperty(new Error('e'), 'stack', {
      get() {
        throw new Error('stack');
      },
    }),
  ],
  [
    'a proxy that refuses all reading',
    new Proxy(
      {},
      {
        get() {
          throw new Error('get');
        },
      },
    ),
  ],
];
