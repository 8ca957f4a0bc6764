import type { Redis } from 'ioredis';
import { rawClient } from './client.js';
import { until } from './eventually.js';
import { Link } from './link.js';
import { startRedis, type RedisProcess } from './redis-process.js';

let server: RedisProcess;
let link: Link;
let client: Redis;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.dispose());

beforeEach(async () => {
  await server.call('FLUSHALL');
  link = await Link.to(server);
  client = rawClient(link.port);
  await client.ping();
});
afterEach(async () => {
  client.disconnect();
  await link.dispose();
});

/** The replies of SET a, SET b, GET a in one pipeline; 'lost' if the connection broke before. */
async function pipeline(): Promise<unknown[]> {
  const sent = [client.set('a', '1'), client.set('b', '2'), client.get('a')];
  return Promise.all(sent.map((reply) => reply.catch(() => 'lost')));
}

const stored = (): Promise<unknown> => server.call('MGET', 'a', 'b');

describe('a link', () => {
  it('passes everything on, and counts connections', async () => {
    expect(await pipeline()).toEqual(['OK', 'OK', '1']);
    const big = 'x'.repeat(3_000_000);
    await client.set('big', big);
    expect(await client.get('big')).toBe(big);
    expect(link.accepted).toBe(1);
    client.disconnect();
    await until(() => link.connections.size === 0, { what: 'the server side is closed as well' });
  });

  it('ends its connections when cut, and lets new ones through', async () => {
    const ended = until(() => client.status === 'end', { what: 'the client notices' });
    link.cut();
    await ended;
    client = rawClient(link.port);
    expect(await client.ping()).toBe('PONG');
    expect(link.accepted).toBe(2);
  });

  it('can refuse connections', async () => {
    link.onConnection((connection) => connection.cut());
    const refused = rawClient(link.port);
    await expect(refused.ping()).rejects.toMatchObject({ message: expect.any(String) });
  });

  it('closes the connection when the server has closed it', async () => {
    const other = await startRedis();
    await using toOther = await Link.to(other);
    const its = rawClient(toOther.port);
    await its.ping();
    await other.dispose();
    await until(() => its.status === 'end', { what: 'the client notices' });
  });
});

describe('a stalled link', () => {
  it('passes and closes nothing until it is resumed, then passes everything on in order', async () => {
    link.stall();
    const replies = pipeline();
    // Ten round trips to the server beside the link: enough time for anything that leaked through
    // the link.
    for (let look = 0; look < 10; look += 1) expect(await stored()).toEqual([null, null]);
    expect(client.status).toBe('ready');
    link.resume();
    expect(await replies).toEqual(['OK', 'OK', '1']);
  });

  it('can hold back replies only: the server has run the command, and the client does not know', async () => {
    link.stall('replies');
    const replies = pipeline();
    await until(async () => String(await stored()) === '1,2', { what: 'the commands ran' });
    link.cut();
    expect(await replies).toEqual(['lost', 'lost', 'lost']);
  });

  it('hides from the server that the client has left', async () => {
    const clients = async (): Promise<number> =>
      String(await server.call('CLIENT', 'LIST', 'TYPE', 'normal'))
        .trim()
        .split('\n').length;
    const before = await clients();
    link.stall();
    client.disconnect();
    await until(() => client.status === 'end', { what: 'the client is gone' });
    expect(await clients()).toBe(before);
    link.resume();
    await until(async () => (await clients()) === before - 1, { what: 'the server hears of it' });
  });

  it('stalls new connections too', async () => {
    link.stall();
    const late = rawClient(link.port);
    const pong = late.ping();
    await until(() => link.accepted === 2, { what: 'it is connected' });
    for (let look = 0; look < 10; look += 1) await server.call('PING');
    expect(late.status).toBe('connect');
    link.resume();
    expect(await pong).toBe('PONG');
    late.disconnect();
  });
});

describe('a link that drops replies', () => {
  it('lets commands run and their answers vanish until it is cut', async () => {
    link.dropReplies();
    const replies = pipeline();
    await until(async () => String(await stored()) === '1,2', { what: 'the commands ran' });
    link.cut();
    expect(await replies).toEqual(['lost', 'lost', 'lost']);
  });
});

describe('a cut at a point in the conversation', () => {
  const cut = (): void => link.cut();

  it('comes right after the n-th reply', async () => {
    void link.afterReply(2, cut);
    expect(await pipeline()).toEqual(['OK', 'OK', 'lost']);
  });

  it('comes before the first reply that contains a text', async () => {
    await server.call('CONFIG', 'RESETSTAT');
    void link.beforeReply('$1\r\n1', cut);
    expect(await pipeline()).toEqual(['OK', 'OK', 'lost']);
    expect(await server.call('INFO', 'commandstats')).toContain('cmdstat_get:calls=1');
  });

  it('comes before a command, so that the server never sees it', async () => {
    void link.beforeRequest('$1\r\nb', cut);
    expect((await pipeline()).slice(1)).toEqual(['lost', 'lost']);
    await until(async () => String(await stored()) === '1,', { what: 'the first command alone ran' });
  });

  it('comes right after a command, which runs', async () => {
    void link.afterRequest('$1\r\nb', cut);
    expect((await pipeline()).slice(2)).toEqual(['lost']);
    await until(async () => String(await stored()) === '1,2', { what: 'both commands ran' });
  });

  it('can stall instead', async () => {
    const stalled = link.beforeReply(2, (connection) => connection.stall('replies'));
    const replies = pipeline();
    await stalled;
    const first = await Promise.race([replies, server.call('PING')]);
    expect(first).toBe('PONG');
    link.resume();
    expect(await replies).toEqual(['OK', 'OK', '1']);
  });
});
