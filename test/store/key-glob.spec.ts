import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { KeyGlob, literalGlob } from '../../lib/store/key-glob.js';
import { startRedis, type RedisProcess } from '../support/redis-process.js';

const TEXTS = [
  'ab\nc',
  ...String.raw`a b ab abc aab abab a*b a?b a[b a]b a\b a^b a-b * ? [ ] \ ^ -`.split(' '),
  ...'order:1 order:12 order: ü 😀 aXbXc zzz x'.split(' '),
];
const GLOBS = [
  '*\n*',
  ...'* ** a* *b a*b a**b *a*b* a? a?b ?? ??? order:* order:? abc *X*X* *?*?*c ü ?ü ??ü [ü] [ü]?'.split(' '),
  ...'[ab] [a-c]* [c-a]* [^a] [^a]* [^a-c]* a[*?]b a[]]b a[[]b a[-]b a[x-]b a[^-]b a[^]b a[b-]b'.split(' '),
  ...'[] [^] [ a[ [a [^ [a- [a-] [^^] [a^] [+--] ] ^ -'.split(' '),
  ...String.raw`a\*b a\?b a\\b \a a\ \ \[ \] a[\]]b a[\-x]b [\^a] *[\ [\ [a\ `.trim().split(' '),
];

describe('A glob', () => {
  let redis: RedisProcess;
  beforeAll(async () => {
    redis = await startRedis();
    await redis.call('MSET', ...TEXTS.flatMap((text) => [text, '1']));
  });
  afterAll(() => redis.dispose());

  it.each(GLOBS)('matches the keys that Redis matches: %j', async (glob) => {
    const found = ((await redis.call('KEYS', glob)) as string[]).toSorted();
    const matcher = new KeyGlob(glob);
    expect(TEXTS.filter((text) => matcher.matches(text)).toSorted()).toEqual(found);
    for (const text of found) expect(text.startsWith(matcher.head)).toBe(true);
  });

  it.each(['a*b', '?', '[x]', '\\', 'a\\*', '^-]', 'plain', '', '*[?]\\'])(
    'of a literal text matches this text alone: %j',
    async (text) => {
      const matcher = new KeyGlob(literalGlob(text));
      expect(matcher.head).toBe(text);
      expect(TEXTS.filter((each) => matcher.matches(each))).toEqual(TEXTS.includes(text) ? [text] : []);
      await redis.call('SET', `literal:${text}`, '1');
      expect(await redis.call('KEYS', literalGlob(`literal:${text}`))).toEqual([`literal:${text}`]);
    },
  );

  it('with many stars is quick on a long key', () => {
    const start = process.cpuUsage().user;
    expect(new KeyGlob(`${'a*'.repeat(500)}b`).matches('a'.repeat(1_024))).toBe(false);
    expect(process.cpuUsage().user - start).toBeLessThan(1_000_000);
  });
});
