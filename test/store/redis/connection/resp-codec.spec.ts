import { describe, expect, it } from '@jest/globals';
import { encoded, ReplyReader } from '../../../../lib/store/redis/connection/resp-codec.js';
import { ErrorReply, type Reply } from '../../../../lib/store/redis/resp.js';

/** The replies in the text, which arrives in chunks of `size` bytes. */
function decoded(text: string, size = Infinity): Reply[] {
  const replies: Reply[] = [];
  const reader = new ReplyReader((reply) => replies.push(reply));
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) reader.read(bytes.subarray(at, at + size));
  return replies;
}

describe('Commands on the wire', () => {
  it.each([
    ['words', [['ping']], '*1\r\n$4\r\nping\r\n'],
    ['numbers', [['wait', 2, -1]], '*3\r\n$4\r\nwait\r\n$1\r\n2\r\n$2\r\n-1\r\n'],
    ['an empty argument', [['get', '']], '*2\r\n$3\r\nget\r\n$0\r\n\r\n'],
    ['several commands', [['a'], ['b']], '*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n'],
    ['line ends within an argument', [['get', 'a\r\nb']], '*2\r\n$3\r\nget\r\n$4\r\na\r\nb\r\n'],
  ] as const)('hold %s', (_, commands, text) => {
    expect(encoded(commands)).toBe(text);
  });

  it.each(['grün', '錠', '🔒', '\ud800'])('give the length of %s in bytes', (key) => {
    const length = Buffer.from(key).length;
    expect(encoded([['get', key]])).toBe(`*2\r\n$3\r\nget\r\n$${length}\r\n${key}\r\n`);
  });
});

describe('Replies on the wire', () => {
  const REPLIES: readonly (readonly [what: string, text: string, reply: Reply])[] = [
    ['a status', '+OK\r\n', 'OK'],
    ['an empty status', '+\r\n', ''],
    ['an integer', ':1234567890123456\r\n', 1_234_567_890_123_456],
    ['a negative integer', ':-2\r\n', -2],
    ['a string', '$5\r\nhello\r\n', 'hello'],
    ['an empty string', '$0\r\n\r\n', ''],
    ['a string with line ends', '$6\r\na\r\nb\r\n\r\n', 'a\r\nb\r\n'],
    ['a string with characters of several bytes', '$13\r\ngrün 錠🔒\r\n', 'grün 錠🔒'],
    ['no string', '$-1\r\n', null],
    ['no array', '*-1\r\n', null],
    ['an empty array', '*0\r\n', []],
    ['arrays in arrays', '*3\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n$-1\r\n', [1, ['a', []], null]],
    ['an error', '-ERR no such thing\r\n', new ErrorReply('ERR no such thing')],
    ['an error in an array', '*1\r\n-WRONGTYPE x\r\n', [new ErrorReply('WRONGTYPE x')]],
  ];

  it.each(REPLIES)('hold %s', (_, text, reply) => {
    expect(decoded(text)).toEqual([reply]);
  });

  it.each([1, 2, 3, 7])('may be cut anywhere, into chunks of %i bytes', (size) => {
    const text = REPLIES.map(([, each]) => each).join('');
    expect(decoded(text, size)).toEqual(REPLIES.map(([, , reply]) => reply));
  });

  it('may be cut at any one place', () => {
    const text = Buffer.from(REPLIES.map(([, each]) => each).join(''));
    for (let cut = 1; cut < text.length; cut++) {
      const replies: Reply[] = [];
      const reader = new ReplyReader((reply) => replies.push(reply));
      reader.read(text.subarray(0, cut));
      reader.read(text.subarray(cut));
      expect(replies).toEqual(REPLIES.map(([, , reply]) => reply));
    }
  });

  it('are passed on as soon as they are complete', () => {
    expect(decoded('+OK\r\n$5\r\nhel')).toEqual(['OK']);
    expect(decoded('*2\r\n:1\r\n')).toEqual([]);
  });

  it('of megabytes, in small chunks, take time in proportion to their size', () => {
    const value = 'x'.repeat(4_000_000);
    const bytes = Buffer.from(`$${value.length}\r\n${value}\r\n`);
    const copied: number[] = [];
    const concat = Buffer.concat;
    Buffer.concat = (list, ...rest) => {
      const whole = concat(list, ...rest);
      copied.push(whole.length);
      return whole;
    };
    try {
      const replies: Reply[] = [];
      const reader = new ReplyReader((reply) => replies.push(reply));
      for (let at = 0; at < bytes.length; at += 1_000) reader.read(bytes.subarray(at, at + 1_000));
      expect(replies).toEqual([value]);
    } finally {
      Buffer.concat = concat;
    }
    expect(copied).toEqual([bytes.length]);
  });

  it.each([
    ['another protocol', 'HTTP/1.1 400 Bad Request\r\n'],
    ['RESP 3', '%1\r\n+a\r\n+b\r\n'],
    ['a length that is no number', '$x\r\n'],
    ['a length without digits', '*\r\n'],
    ['a number with a sign in it', ':1-2\r\n'],
    ['a string that is longer than announced', '$2\r\nabc\r\n'],
    ['a line end without its second half', ':1\rx'],
  ])('are refused if they hold %s', (_, text) => {
    expect(() => decoded(text)).toThrow(/not in the protocol of Redis: "/);
  });
});
