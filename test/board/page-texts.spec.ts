// By a name that the compiler does not follow: the page's scripts are compiled for a browser.
const path: string = '../../lib/board/page/board.js';
const { bytes, duration, shown } = (await import(path)) as {
  bytes: (count: number) => string;
  duration: (ms: number | null) => string;
  shown: (text: string) => string;
};

describe('The page of the board writes', () => {
  it.each([
    [null, 'no end'],
    [-5, '0 ms'],
    [999, '999 ms'],
    [1_000, '1.0 s'],
    [9_949, '9.9 s'],
    [9_960, '10 s'],
    [99_000, '99 s'],
    [100_000, '2 min'],
    [3_569_000, '59 min'],
    [3_599_000, '1 h 0 min'],
    [5_400_000, '1 h 30 min'],
    [172_799_000, '2 days'],
    [864_000_000, '10 days'],
  ])('a duration of %p ms as %s', (ms, text) => {
    expect(duration(ms)).toBe(text);
  });

  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.0 kB'],
    [2_345_678, '2.3 MB'],
  ])('%i bytes as %s', (count, text) => {
    expect(bytes(count)).toBe(text);
  });

  it.each([
    ['order:42', 'order:42'],
    ['a b', 'a b'],
    ['größe:日本:🔒', 'größe:日本:🔒'],
    ['\u202Egpj.exe', '\\u{202e}gpj.exe'],
    ['a\0b\nc', 'a\\u{0}b\\u{a}c'],
    ['zero\u200Bwidth\uFEFF', 'zero\\u{200b}width\\u{feff}'],
    ['no\u00A0break\u2028', 'no\\u{a0}break\\u{2028}'],
    ['\u{E0041}tag', '\\u{e0041}tag'],
  ])('the key %j as %s', (key, text) => {
    expect(shown(key)).toBe(text);
  });
});
