import { describe, expect, it } from '@jest/globals';
import { durationText } from '../../lib/common/duration-text.js';

describe('A duration in a message', () => {
  it.each([
    [0, '0 ms'],
    [0.4, '0 ms'],
    [400.3, '400 ms'],
    [1_000, '1 s'],
    [1_549, '1.5 s'],
    [9_999, '10 s'],
    [14_501.7, '15 s'],
    [3_600_000, '3600 s'],
  ])('is rounded for people: %s is %s', (ms, text) => {
    expect(durationText(ms)).toBe(text);
  });
});
