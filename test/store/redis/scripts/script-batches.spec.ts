import { describe, expect, it } from '@jest/globals';
import { batchesOf } from '../../../../lib/store/redis/scripts/script-batches.js';
import { MUTEX, type LockScripts } from '../../../../lib/store/redis/scripts/lock-scripts.js';
import { ErrorReply } from '../../../../lib/store/redis/resp.js';
import { mayBlameOne } from '../../../../lib/store/redis/connection/error-replies.js';

const other: LockScripts = { ...MUTEX };

interface Item {
  readonly scripts: LockScripts;
  readonly keys: readonly string[];
  readonly slot: number | undefined;
  readonly isAlone?: boolean;
}

/** `count` items of `keys` keys each. */
function items(count: number, keys = 1, rest: Partial<Item> = {}): Item[] {
  return Array.from({ length: count }, () => ({
    keys: Array.from({ length: keys }, (_, i) => `k${i}`),
    slot: undefined,
    scripts: MUTEX,
    ...rest,
  }));
}

describe('One run of a script', () => {
  it.each<[string, Item[], number[]]>([
    ['nothing for nothing', [], []],
    ['64 requests at most', items(130), [64, 64, 2]],
    ['256 keys at most', items(10, 100), [2, 2, 2, 2, 2]],
    ['one lock of 256 keys, and nothing beside it', items(3, 256), [1, 1, 1]],
    ['256 keys of several requests', [...items(2, 128), ...items(1)], [2, 1]],
    ['keys of one slot', [...items(3, 1, { slot: 1 }), ...items(2, 1, { slot: 2 })], [3, 2]],
    ['locks of one kind', [...items(2), ...items(1, 1, { scripts: other }), ...items(1)], [3, 1]],
    ['at most 64 of one slot', [...items(65, 1, { slot: 1 }), ...items(1, 1, { slot: 2 })], [64, 1, 1]],
    ['one request that was refused together with others', items(3, 1, { isAlone: true }), [1, 1, 1]],
    ['the others of such a request', [...items(1), ...items(1, 1, { isAlone: true }), ...items(2)], [3, 1]],
  ])('carries %s', (_, given, sizes) => {
    const batches = batchesOf(given);
    expect(batches.map((batch) => batch.items.length)).toEqual(sizes);
    expect(new Set(batches.flatMap((batch) => batch.items))).toEqual(new Set(given));
    for (const batch of batches) {
      expect(new Set(batch.items.map(({ slot }) => slot)).size).toBe(1);
      expect(new Set(batch.items.map(({ scripts }) => scripts))).toEqual(new Set([batch.scripts]));
    }
  });

  it.each([
    ['NOPERM this user has no permissions to access one of the keys', true],
    ["CROSSSLOT Keys in request don't hash to the same slot", true],
    ["OOM command not allowed when used memory > 'maxmemory'.", true],
    ['TRYAGAIN Multiple keys request during rehashing of slot', true],
    ['ERR a proxy’s own words', true],
    ['NOSCRIPT No matching script. Please use EVAL.', false],
    ["READONLY You can't write against a read only replica.", false],
    ['LOADING Redis is loading the dataset in memory', false],
    ['NOAUTH Authentication required.', false],
    ["ERR unknown command 'EVALSHA'", false],
  ])('that is refused with %s may be so for one of its requests: %s', (message, isSo) => {
    expect(mayBlameOne(new ErrorReply(message))).toBe(isSo);
  });
});
