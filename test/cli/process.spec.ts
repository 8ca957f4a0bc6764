import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { compiledCommand, endOf, removeCommand, startCommand, type Ran } from '../support/command-line.js';
import { startRedis, type RedisProcess } from '../support/redis-process.js';
import { listenWithTls } from '../support/tls.js';

let command: string;
let redis: RedisProcess;

beforeAll(async () => {
  command = compiledCommand();
  redis = await startRedis();
});
afterAll(async () => {
  removeCommand(command);
  await redis.dispose();
});

const ran = (args: string[], env = {}): Promise<Ran> => endOf(startCommand(command, args, env));

describe('The command as a process', () => {
  it('prints its version and its help', async () => {
    expect(await ran(['--version'])).toEqual({ code: 0, out: '7.8.9\n', err: '' });
    expect(await ran(['--help'])).toMatchObject({ code: 0, out: expect.stringMatching(/^Usage: /), err: '' });
  });

  it('has the documented exit codes', async () => {
    await redis.call('SET', 'lock:a', 'rl:host:1:1 1795531756566206', 'PX', 600_000);
    const env = { REPLICA_LOCK_URL: redis.url };
    const runs: [args: string[], code: number][] = [
      [['ls'], 0],
      [['inspect', 'a'], 0],
      [['inspect', 'b'], 1],
      [['release', 'a', 'rl:other:1:1'], 1],
      [['ls', '--nonsense'], 2],
      [['ls', '--url', 'redis://127.0.0.1:1'], 3],
      // Without replicas, locks are refused.
      [['doctor'], 1],
    ];
    const codes = await Promise.all(runs.map(async ([args]) => [args, (await ran(args, env)).code]));
    expect(codes).toEqual(runs);
    expect(await ran(['release', 'a'], env)).toMatchObject({ code: 0, err: '' });
  }, 60_000);

  it('prints no colours into a pipe, and lists no secret among its arguments', async () => {
    const { out } = await ran(['doctor', '--url', redis.url], { TERM: 'xterm-256color' });
    expect(out).not.toContain('\u001b');
    const refused = await ran(['ls', '--url', `redis://:hidden@${redis.address}`]);
    expect(refused).toMatchObject({ code: 2, out: '' });
    expect(refused.err).not.toContain('hidden');
  });

  it('ends quietly if its reader has seen enough', async () => {
    const client = redis.client();
    const pipeline = client.pipeline();
    for (let i = 0; i < 20_000; i++)
      pipeline.set(`lock:k${i}`, `rl:host:1:${i} 1795531756566206`, 'PX', 600_000);
    await pipeline.exec();
    await redis.call('CONFIG', 'RESETSTAT');
    const reading = startCommand(command, ['ls'], { REPLICA_LOCK_URL: redis.url });
    const end = endOf(reading);
    await once(reading.stdout!, 'data');
    reading.stdout!.destroy();
    expect(await end).toMatchObject({ code: 0, err: '' });
    const calls = /calls=(\d+)/.exec((await redis.info('commandstats'))['cmdstat_scan'] ?? '')?.[1];
    expect(Number(calls)).toBeLessThan(60);
  }, 60_000);

  it('speaks TLS to rediss://, and believes the certificates that Node believes', async () => {
    const { port, file } = await listenWithTls(redis, 'IP:127.0.0.1');
    const url = `rediss://127.0.0.1:${port}`;
    expect(await ran(['inspect', 'free', '--url', url], { NODE_EXTRA_CA_CERTS: file })).toMatchObject({
      code: 1,
      err: '',
    });
    const places = [
      ['--url', url],
      ['--nodes', url],
      ['--sentinel', url, '--master', 'mymaster'],
    ];
    for (const { code, err } of await Promise.all(places.map((place) => ran(['ls', ...place]))))
      expect([code, err]).toEqual([3, expect.stringContaining('self-signed certificate')]);
  }, 60_000);

  // A device of Linux.
  (existsSync('/dev/full') ? it : it.skip)(
    'says that the output cannot be written, and ends with 3',
    async () => {
      const full = openSync('/dev/full', 'w');
      try {
        for (const args of [['--help'], ['inspect', 'free'], ['inspect', 'free', '--json'], ['doctor']]) {
          const env = { REPLICA_LOCK_URL: redis.url };
          const { code, err } = await endOf(startCommand(command, args, env, full));
          expect([args, code, err]).toEqual([
            args,
            3,
            expect.stringMatching(/^The output cannot be written: ENOSPC[^\n]*\n$/),
          ]);
        }
      } finally {
        closeSync(full);
      }
    },
  );

  it('ends soon if the server hangs', async () => {
    await redis.stop();
    try {
      const [ls, doctor] = await Promise.all([
        ran(['ls', '--url', redis.url]),
        ran(['doctor', '--url', redis.url]),
      ]);
      expect(ls).toMatchObject({
        code: 3,
        err: expect.stringMatching(/could not be listed: .*did not answer/),
      });
      expect(doctor).toMatchObject({ code: 3 });
    } finally {
      redis.resume();
    }
  }, 60_000);
});
