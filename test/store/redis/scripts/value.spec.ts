import { describe, expect, it } from '@jest/globals';
import { parseValue } from '../../../../lib/store/redis/scripts/value.js';

describe('A key’s value', () => {
  const token = '1795531756566206';
  it.each([
    [null, { kind: 'free' }],
    [token, { kind: 'free' }],
    [
      `rl:h:1:a:1 ${token}`,
      {
        kind: 'held',
        holder: { owner: 'rl:h:1:a:1', token: Number(token), remainingTime: 5, inCooldown: false, limit: 1 },
      },
    ],
    [
      `rl:h:1:a:1~ ${token}`,
      {
        kind: 'held',
        holder: { owner: 'rl:h:1:a:1', token: Number(token), remainingTime: 5, inCooldown: true, limit: 1 },
      },
    ],
    ...['', '42', '"a b\\r\\n= ~ rl:x 1"', `rl:h:1:a:1 ${token}`].map(
      (result) =>
        [
          `rl:h:1:a:1= ${token} ${result}`,
          {
            kind: 'kept',
            holder: {
              owner: 'rl:h:1:a:1',
              token: Number(token),
              remainingTime: 5,
              inCooldown: false,
              keepsResult: true,
              limit: 1,
            },
            result,
          },
        ] as const,
    ),
    [`rl:h:1:a:1= 42 {}`, { kind: 'foreign', found: "the value 'rl:h:1:a:1= 42 {}'" }],
    ['42', { kind: 'foreign', found: "the value '42'" }],
    [`other ${token}`, { kind: 'foreign', found: `the value 'other ${token}'` }],
    ['x'.repeat(60), { kind: 'foreign', found: `the value '${'x'.repeat(40)}…'` }],
  ])('%p', (value, expected) => {
    expect(parseValue(value, 5)).toEqual(expected);
  });
});
