import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { ask } from '../../../../lib/store/redis/connection/connection.js';
import { SocketConnection } from '../../../../lib/store/redis/connection/socket-connection.js';
import { ErrorReply, type Reply } from '../../../../lib/store/redis/resp.js';
import { until } from '../../../support/eventually.js';

const opened: (() => void)[] = [];

afterEach(() => {
  for (const close of opened.splice(0)) close();
});

/** A connection, and the server's end of it, which the test plays by hand. */
async function pair(): Promise<{
  connection: SocketConnection;
  socket: Socket;
  peer: Socket;
  heard: () => string;
}> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const peer = await accepted;
  let text = '';
  peer.on('data', (chunk) => (text += String(chunk)));
  peer.on('error', () => {});
  opened.push(() => {
    socket.destroy();
    peer.destroy();
    server.close();
  });
  const connection = new SocketConnection(socket, () => socket.destroy());
  return { connection, socket, peer, heard: () => text };
}

describe('A connection on a socket', () => {
  it('sends commands in one write, and gives each reply to its command', async () => {
    const { connection, peer, heard } = await pair();
    const replies: [Reply, number][] = [];
    connection.send(
      [
        ['incr', 'a'],
        ['get', 'b'],
      ],
      (reply, index) => replies.push([reply, index]),
    );
    const other = ask(connection, [['ping']]);
    await until(() => heard().endsWith('ping\r\n'), { what: 'the commands have arrived' });
    peer.write(':1\r\n-WRONGTYPE no string\r\n+PONG\r\n');
    expect(await other).toEqual(['PONG']);
    expect(replies).toEqual([
      [1, 0],
      [new ErrorReply('WRONGTYPE no string'), 1],
    ]);
  });

  it('takes the socket over from its former reader', async () => {
    const { socket, peer } = await pair();
    const heard: string[] = [];
    socket.on('data', (chunk) => heard.push(String(chunk)));
    const connection = new SocketConnection(socket, () => socket.destroy());
    const answer = ask(connection, [['ping']]);
    peer.write('+PONG\r\n');
    expect(await answer).toEqual(['PONG']);
    expect(heard).toEqual([]);
  });

  it('passes messages of its channel on, also between the replies', async () => {
    const { connection, peer } = await pair();
    const messages: unknown[] = [];
    const subscribed = connection.subscribe('news', (payload) => messages.push(payload));
    peer.write('*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n');
    await subscribed;
    const pong = ask(connection, [['ping']]);
    peer.write('*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n*2\r\n$3\r\na,b\r\n$1\r\nc\r\n');
    peer.write('*3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$1\r\nx\r\n');
    peer.write('*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n*-1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n');
    expect(await pong).toEqual([['pong', '']]);
    expect(messages).toEqual([['a,b', 'c'], null]);
  });

  it('refuses a subscription that the server refuses', async () => {
    const { connection, peer } = await pair();
    const subscribed = connection.subscribe('news', () => {});
    peer.write('-NOPERM no channel\r\n');
    await expect(subscribed).rejects.toEqual(new ErrorReply('NOPERM no channel'));
  });

  it.each([
    ['an answer that is not RESP', 'HTTP/1.1 400 Bad Request\r\n', /not in the protocol of Redis/],
    ['an answer to no command', ':1\r\n:2\r\n', /an answer to no command: 2/],
    ['an error to no command', ':1\r\n-ERR max number of clients\r\n', /max number of clients/],
  ])('ends with %s, and later answers count for nothing', async (_, text, reason) => {
    const { connection, socket, peer } = await pair();
    const replies: Reply[] = [];
    const ended = new Promise<unknown>((resolve) => connection.onEnd(resolve));
    connection.send([['ping']], (reply) => replies.push(reply));
    peer.write(`${text}:3\r\n`);
    expect(((await ended) as { message: string }).message).toMatch(reason);
    expect(socket.destroyed).toBe(true);
    connection.send([['ping']], (reply) => replies.push(reply));
    expect(replies).not.toContain(3);
  });

  it('ends once, with the reason of the socket', async () => {
    const { connection, socket } = await pair();
    const causes: unknown[] = [];
    connection.onEnd((cause) => causes.push(cause));
    const unanswered = ask(connection, [['ping']]);
    socket.destroy(new Error('no route'));
    await expect(unanswered).rejects.toThrow('no route');
    connection.close();
    connection.onEnd((cause) => causes.push(cause));
    expect(causes).toEqual([new Error('no route'), new Error('no route')]);
  });

  it('ends if the server closes it', async () => {
    const { connection, peer } = await pair();
    const ended = new Promise<unknown>((resolve) => connection.onEnd(resolve));
    peer.end();
    expect(await ended).toEqual(new Error('Connection is closed.'));
  });
});
