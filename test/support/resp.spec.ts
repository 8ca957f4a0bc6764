import { RespStream } from './resp.js';

const VALUES = [
  '+OK\r\n',
  '-ERR no\r\n',
  ':1\r\n',
  '$5\r\nhe\r\no\r\n',
  '$-1\r\n',
  '$0\r\n\r\n',
  '*-1\r\n',
  '*0\r\n',
  '*2\r\n*2\r\n:1\r\n$1\r\na\r\n*0\r\n',
  '%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n',
  '>2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n',
  '=7\r\ntxt:abc\r\n',
  '#t\r\n',
  ',1.5\r\n',
];

describe('a RESP stream', () => {
  const stream = Buffer.from(VALUES.join(''));

  it.each([1, 2, 3, 7, stream.length])(
    'is split into its values when it comes %d bytes at a time',
    (size) => {
      const resp = new RespStream();
      const found: string[] = [];
      for (let at = 0; at < stream.length; at += size) {
        found.push(...resp.push(stream.subarray(at, at + size)).map(({ value }) => value.toString()));
      }
      expect(found).toEqual(VALUES);
    },
  );

  it('reports the offset at which each value ends', () => {
    const resp = new RespStream();
    expect(resp.push(Buffer.from('+O')).map(({ end }) => end)).toEqual([]);
    expect(resp.push(Buffer.from('K\r\n:1\r\n$3\r\n')).map(({ end }) => end)).toEqual([3, 7]);
  });

  it('reports nothing more once it is not RESP', () => {
    const resp = new RespStream();
    expect(resp.push(Buffer.from('+FULLRESYNC\r\n$EOF:0123\r\nREDIS0010\r\n+OK\r\n'))).toHaveLength(1);
    expect(resp.push(Buffer.from('+OK\r\n'))).toEqual([]);
  });
});
