import { Writable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { columnWidths, Output, OutputClosed, table, visible } from '../../lib/cli/output.js';

function sink(onWrite: (text: string) => Error | undefined = () => undefined): Writable {
  return new Writable({
    write: (chunk, _, done) => done(onWrite(String(chunk))),
  });
}

describe('Text for a terminal', () => {
  it.each([
    ['order:42', 'order:42'],
    ['ü€😀', 'ü€😀'],
    ['\u001b[31mred', String.raw`\x1b[31mred`],
    ['a\r\nb\tc', String.raw`a\x0d\nb\x09c`],
    ['\u009b2J', String.raw`\x9b2J`],
    ['a\u202eb\u2066c', String.raw`a\u{202e}b\u{2066}c`],
    ['a\u200bb\ufeff', String.raw`a\u{200b}b\u{feff}`],
    ['a\u2028b', String.raw`a\u{2028}b`],
    ['\u0000\u007f', String.raw`\x00\x7f`],
    ['a\\x1bb', String.raw`a\\x1bb`],
  ])('shows %j as %j', (text, expected) => {
    expect(visible(text)).toBe(expected);
  });

  it('stands in columns, which later pages keep', () => {
    const rows = [
      ['KEY', 'OWNER'],
      ['a', 'x'],
      ['long', ''],
    ];
    expect(table(rows)).toEqual(['KEY   OWNER', 'a     x', 'long']);
    expect(table([['b', 'y']], columnWidths(rows))).toEqual(['b     y']);
  });

  it('does not make every row as wide as one long key', () => {
    const [head, long, short] = table([
      ['KEY', 'OWNER'],
      ['k'.repeat(1_000), 'x'],
      ['a', 'y'],
    ]);
    expect([head!.length, long!.length, short!.length]).toEqual([67, 1_003, 63]);
  });
});

describe('The output', () => {
  it('masks passwords in errors, also those of a URL that it was not told of', () => {
    let err = '';
    const output = new Output(
      sink(),
      sink((text) => ((err += text), undefined)),
      false,
    ).masking(['s3cret', 's3cret-long']);
    output.error('refused s3cret-long and s3cret at redis://user:p@ss/word@host:1, rediss://:x@h');
    expect(err).toBe('refused *** and *** at redis://user:***@host:1, rediss://:***@h\n');
  });

  it('escapes control characters in errors', () => {
    let err = '';
    new Output(
      sink(),
      sink((text) => ((err += text), undefined)),
      false,
    ).error("key '\u001b[2J'");
    expect(err).toBe(String.raw`key '\x1b[2J'` + '\n');
  });

  it('has colours only if they are asked for', () => {
    expect(new Output(sink(), sink(), true).coloured('x', 'red')).toBe('\u001b[31mx\u001b[0m');
    expect(new Output(sink(), sink(), false).coloured('x', 'red')).toBe('x');
  });

  it('ends the command if its reader has gone', async () => {
    const out = sink(() => Object.assign(new Error('gone'), { code: 'EPIPE' }));
    const output = new Output(out, sink(), false);
    const lines = async (): Promise<void> => {
      for (let i = 0; i < 100_000; i++) await output.line('x'.repeat(100));
    };
    await expect(lines()).rejects.toBeInstanceOf(OutputClosed);
  });
});
