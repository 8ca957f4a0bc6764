import { describe, expect, it } from '@jest/globals';
import { command, RawConnection, ReplyReader, type Reply } from '../../bench/subjects/raw-connection.js';
import { startRedis } from '../support/redis-process.js';

function read(...chunks: readonly string[]): Reply[] {
  const replies: Reply[] = [];
  const reader = new ReplyReader((reply) => replies.push(reply));
  for (const chunk of chunks) reader.push(Buffer.from(chunk, 'latin1'));
  return replies;
}

const cases: readonly (readonly [string, Reply])[] = [
  ['+OK\r\n', 'OK'],
  [':-42\r\n', -42],
  ['$5\r\na\r\nbc\r\n', 'a\r\nbc'],
  ['$0\r\n\r\n', ''],
  ['$-1\r\n', null],
  ['*3\r\n:1\r\n$1\r\nx\r\n*0\r\n', [1, 'x', []]],
  ['*-1\r\n', null],
  ['-ERR no\r\n', new Error('ERR no')],
];

describe('The connection of the floors', () => {
  it.each(cases)('reads %j', (text, reply) => {
    expect(read(text)).toEqual([reply]);
  });

  it('reads replies that arrive in any two pieces', () => {
    const text = cases.map(([each]) => each).join('');
    const replies = cases.map(([, reply]) => reply);
    for (let at = 0; at <= text.length; at++)
      expect(read(text.slice(0, at), text.slice(at))).toEqual(replies);
  });

  it('reads replies that arrive byte by byte', () => {
    const text = cases.map(([each]) => each).join('');
    expect(read(...text.split(''))).toEqual(cases.map(([, reply]) => reply));
  });

  it('answers each request with its own replies, errors among them', async () => {
    await using server = await startRedis();
    const connection = await RawConnection.open({ host: '127.0.0.1', port: server.port });
    const first = connection.request(command('SET', 'clé', 'ü') + command('NOSUCH'), 2);
    const second = connection.request(command('STRLEN', 'clé'), 1);
    expect(await first).toEqual(['OK', expect.any(Error)]);
    expect(await second).toEqual([2]);
    connection.close();
  });

  it('rejects what is unanswered when the server goes away', async () => {
    await using server = await startRedis();
    const connection = await RawConnection.open({ host: '127.0.0.1', port: server.port });
    const pending = connection.request(command('BLPOP', 'empty', '0'), 1);
    await Promise.all([expect(pending).rejects.toThrow('connection to Redis has ended'), server.kill()]);
  });
});
