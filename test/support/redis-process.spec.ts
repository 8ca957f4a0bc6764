import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { startRedis, type RedisProcess } from './redis-process.js';
import { isAlive } from './is-alive.js';

describe('a server started for a test', () => {
  let server: RedisProcess;
  beforeEach(async () => {
    server = await startRedis();
  });
  afterEach(() => server.dispose());

  it('answers as soon as the test has it', async () => {
    expect(await server.call('SET', 'a', '1')).toBe('OK');
    expect((await server.info('server'))['tcp_port']).toBe(String(server.port));
  });

  it('answers nothing while stopped and goes on when resumed', async () => {
    await server.call('SET', 'a', '1');
    await server.stop();
    const client = server.client();
    let answered = false;
    const answer = client.get('a').then((value) => {
      answered = true;
      return value;
    });
    // A round trip takes well under 1 ms. The test shows that no answer comes by itself.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(answered).toBe(false);
    server.resume();
    expect(await answer).toBe('1');
  });

  it('is gone after kill, even if it was stopped, and comes back empty on the same port', async () => {
    await server.call('SET', 'a', '1');
    const { port } = server;
    await server.stop();
    await server.kill();
    await expect(server.call('PING')).rejects.toMatchObject({ message: expect.any(String) });
    await server.restart();
    expect(server.port).toBe(port);
    expect(await server.call('GET', 'a')).toBeNull();
  });

  it('says that its port is taken, even by a program that never answers', async () => {
    await server.kill();
    const silent = createServer().listen(server.port, '127.0.0.1');
    try {
      await expect(server.restart()).rejects.toThrow(/address already in use/i);
    } finally {
      silent.close();
    }
  });

  it('comes back with what it saved when its data is kept', async () => {
    await server.call('SET', 'a', '1');
    await server.call('SAVE');
    await server.call('SET', 'b', '2');
    await server.restart({ data: 'kept' });
    expect(await server.call('MGET', 'a', 'b')).toEqual(['1', null]);
    await server.restart();
    expect(await server.call('GET', 'a')).toBeNull();
  });

  it('says why when it cannot start', async () => {
    await expect(startRedis({ 'no-such-directive': 1 })).rejects.toMatchObject({
      message: expect.stringContaining('no-such-directive'),
    });
  });

  it('leaves neither process nor folder behind when disposed', async () => {
    const { pid, folder } = server;
    await server.dispose();
    expect(isAlive(pid)).toBe(false);
    expect(existsSync(folder)).toBe(false);
  });
});
