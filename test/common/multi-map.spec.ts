import { describe, expect, it } from '@jest/globals';
import { MultiMap } from '../../lib/common/multi-map.js';

describe('A map of keys to several values', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((name) => ({ name })) as [object, object, object];

  function filled(...values: object[]): MultiMap<string, object> {
    const map = new MultiMap<string, object>();
    for (const value of values) map.add('key', value);
    return map;
  }

  it.each([
    ['none', [], []],
    ['one', [a], [a]],
    ['several, in order', [b, a, c], [b, a, c]],
    ['each value once', [a, a, b, a], [a, b]],
  ])('knows the values of a key: %s', (_, added, expected) => {
    expect(filled(...added).of('key')).toEqual(expected);
  });

  it.each([
    ['the only value', [a], [a], []],
    ['one of two', [a, b], [a], [b]],
    ['one after the other', [a, b, c], [c, a, b], []],
    ['no value that the key does not have', [a], [b], [a]],
    ['a value twice', [a, b], [b, b], [a]],
  ])('deletes %s', (_, added, deleted, expected) => {
    const map = filled(...added);
    for (const value of deleted) map.delete('key', value);
    expect(map.of('key')).toEqual(expected);
  });

  it('takes a value again after the last was deleted', () => {
    const map = filled(a, b);
    map.delete('key', a);
    map.delete('key', b);
    map.add('key', c);
    expect(map.of('key')).toEqual([c]);
  });

  it('keeps the keys apart', () => {
    const map = filled(a);
    map.add('other', b);
    map.delete('other', b);
    expect(map.of('key')).toEqual([a]);
    expect(map.of('other')).toEqual([]);
  });

  it('gives out values that stay when they are deleted meanwhile', () => {
    const map = filled(a, b);
    const found = map.of('key');
    for (const value of found) map.delete('key', value);
    expect(found).toEqual([a, b]);
  });
});
