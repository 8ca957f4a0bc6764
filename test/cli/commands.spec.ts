import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { commandLine, type Ran } from '../support/command-line.js';
import { startCluster } from '../support/cluster.js';
import { startReplication, type Replication } from '../support/replication.js';
import { startSentinels } from '../support/sentinels.js';
import { RedisServices } from '../store/redis/redis-stores.js';
import type { LockService } from '../../lib/lock/lock-service.js';

const services = new RedisServices();
let redis: Replication;
let locks: LockService;

beforeAll(async () => {
  redis = await startReplication({ replicas: 1 });
});
beforeEach(async () => {
  await redis.master.call('FLUSHALL');
  ({ locks } = services.open(redis.url));
});
afterEach(() => services.closeAll());
afterAll(() => redis.dispose());

const cli = (line: string[], env = {}): Promise<Ran> => commandLine([...line, '--url', redis.url], env);
const lines = ({ out }: Ran): string[] => out.trimEnd().split('\n');

describe('nestjs-replica-lock ls', () => {
  it('shows every holder and every kept result in a table', async () => {
    const one = await locks.acquire('one');
    const two = [
      await locks.acquire('shared', { limit: 2 }),
      await locks.acquire('shared', { limit: Infinity }).catch(() => undefined),
    ];
    await locks.once('result', { keepFor: '1h' }, () => ({ a: 1 }));
    const ran = await cli(['ls']);
    expect(ran).toMatchObject({ code: 0, err: '' });
    const [head, ...rows] = lines(ran);
    expect(head).toMatch(/^KEY +OWNER +TOKEN +LIMIT +ENDS IN$/);
    expect(rows).toHaveLength(4);
    const row = (start: RegExp): string => rows.find((each) => start.test(each)) ?? '';
    expect(row(/^one /)).toMatch(
      new RegExp(`^one +${one.owner} +${one.fencingToken} +1 +1\\d s$|^one +.* \\d\\.\\d s$`),
    );
    expect(rows.filter((each) => each.startsWith('shared ')).join('\n')).toMatch(/ 2 .*\n.* none /s);
    expect(row(/^result /)).toMatch(/ kept +60 min$/);
    for (const lock of two) await lock?.release();
  });

  it('takes a glob, and says if nothing is held', async () => {
    await locks.acquire('order:1');
    await locks.acquire('report:1');
    expect(lines(await cli(['ls', '--match', 'ord*']))).toHaveLength(2);
    expect(await cli(['ls', '--match', 'x*'])).toEqual({ code: 0, out: '', err: 'No key is held.\n' });
    expect(await cli(['ls', '--match', ''])).toMatchObject({
      code: 2,
      err: expect.stringContaining('match'),
    });
  });

  it('prints one JSON object for each holder, with null for what never ends', async () => {
    await locks.acquire('a', { limit: Infinity });
    await redis.master.call('SET', 'lock:b', 'rl:x:1:1 1795531756566206');
    const ran = await cli(['ls', '--json']);
    const found = lines(ran).map((line) => JSON.parse(line) as { key: string });
    expect(found.toSorted((x, y) => (x.key < y.key ? -1 : 1))).toMatchObject([
      { key: 'a', limit: null, holders: 1, fencingToken: expect.any(Number) },
      { key: 'b', owner: 'rl:x:1:1', remainingTime: null },
    ]);
    expect(await cli(['ls', '--json', '--match', 'x'])).toEqual({ code: 0, out: '', err: '' });
  });

  it('shows hostile keys and owners as text', async () => {
    await redis.master.call(
      'SET',
      'lock:\u001b[2J\r\nx',
      'rl:\u001b]0;hi\u0007:1:1 1795531756566206',
      'PX',
      60_000,
    );
    const { out } = await cli(['ls']);
    expect(out).toContain(String.raw`\x1b[2J\x0d\nx`);
    expect(out).toContain(String.raw`rl:\x1b]0;hi\x07:1:1`);
    // oxlint-disable-next-line no-control-regex
    expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
    expect(lines({ out, err: '', code: 0 })).toHaveLength(2);
  });

  it('uses the prefix of the module', async () => {
    await redis.master.call('SET', 'shop:a', 'rl:x:1:1 1795531756566206', 'PX', 60_000);
    expect(lines(await cli(['ls', '--key-prefix', 'shop:']))[1]).toMatch(/^a /);
    expect(lines(await cli(['ls'], { REPLICA_LOCK_KEY_PREFIX: 'shop:' }))[1]).toMatch(/^a /);
    expect(await cli(['ls', '--key-prefix', '{'])).toMatchObject({ code: 2 });
  });
});

describe('nestjs-replica-lock inspect', () => {
  it('shows the holders (0), or says that the key is free (1)', async () => {
    const lock = await locks.acquire('a');
    const ran = await cli(['inspect', 'a']);
    expect(ran.code).toBe(0);
    expect(lines(ran)[1]).toContain(lock.owner);
    expect(await cli(['inspect', 'free'])).toEqual({ code: 1, out: 'free is free.\n', err: '' });
    expect(JSON.parse((await cli(['inspect', 'a', '--json'])).out)).toMatchObject({
      key: 'a',
      locks: [{ owner: lock.owner, limit: 1 }],
    });
    expect(await cli(['inspect', 'free', '--json'])).toMatchObject({
      code: 1,
      out: '{"key":"free","locks":[]}\n',
    });
  });

  it('shows a kept result', async () => {
    await locks.once('a', { keepFor: '1m' }, () => 'x\u001b[31m');
    const { out } = await cli(['inspect', 'a']);
    expect(out).toContain('Result: "x\\\\u001b[31m"');
  });

  it("names another program's value (1), and a wrong key (2)", async () => {
    await redis.master.call('SET', 'lock:basket', 'a\u001bb');
    expect(await cli(['inspect', 'basket'])).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining(String.raw`the value 'a\x1bb'`),
    });
    expect(await cli(['inspect', ''])).toMatchObject({ code: 2, err: expect.stringContaining('is empty') });
    expect(await cli(['inspect', 'x'.repeat(2_000)])).toMatchObject({ code: 2 });
  });
});

describe('nestjs-replica-lock release', () => {
  it('takes the key from all its holders, or from one', async () => {
    const [one, two] = [await locks.acquire('a', { limit: 3 }), await locks.acquire('a', { limit: 3 })];
    expect(await cli(['release', 'a', 'rl:nobody:1:1'])).toMatchObject({
      code: 1,
      out: 'a is not held by rl:nobody:1:1.\n',
    });
    expect(await cli(['release', 'a', one.owner])).toMatchObject({
      code: 0,
      out: `a was taken away from ${one.owner}.\n`,
    });
    expect(await locks.inspectAll('a')).toMatchObject([{ owner: two.owner }]);
    expect(JSON.parse((await cli(['release', 'a', '--json'])).out)).toEqual({ key: 'a', released: true });
    expect(await cli(['release', 'a'])).toMatchObject({ code: 1, out: 'a is free.\n' });
    expect(await cli(['release', 'a', ''])).toMatchObject({ code: 2 });
  });
});

describe('The command line', () => {
  it('says what is wrong with the usage (2), and what Redis lacks (3)', async () => {
    expect(await commandLine([])).toMatchObject({ code: 2, err: expect.stringContaining('--help') });
    expect(await commandLine(['ls'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('Say where Redis is'),
    });
    expect(await commandLine(['ls', '--url', 'http://x'])).toMatchObject({
      code: 2,
      err: expect.stringContaining("Option 'connection'"),
    });
    expect(await commandLine(['--help'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('release <key>'),
      err: '',
    });
    expect(await commandLine(['ls', '--url', redis.replica(0).url])).toMatchObject({
      code: 3,
      err: expect.stringContaining('it is no master but a replica'),
    });
  });

  it('never prints a password, neither of the environment nor of a URL', async () => {
    await redis.master.call('ACL', 'SETUSER', 'cli', 'on', '>right', '~*', '&*', '+@all');
    const url = `redis://cli:wr0ng-s3cret@${redis.master.address}`;
    for (const command of [['ls'], ['doctor'], ['doctor', '--json']]) {
      const ran = await commandLine(command, { REPLICA_LOCK_URL: url });
      expect(ran).toMatchObject({ code: 3 });
      expect(ran.out + ran.err).toMatch(/WRONGPASS/);
      expect(ran.out + ran.err).not.toContain('wr0ng');
    }
    const malformed = await commandLine(['ls'], { REPLICA_LOCK_URL: 'redis://cli:wr0ng#s3/cret@host' });
    expect(malformed).toMatchObject({ code: 2 });
    expect(malformed.err).not.toMatch(/wr0ng|s3|cret/);
    const env = { REPLICA_LOCK_USERNAME: 'cli', REPLICA_LOCK_PASSWORD: 'right' };
    expect(await cli(['ls'], env)).toMatchObject({ code: 0 });
  });

  it('works through Sentinel and in a Cluster', async () => {
    await using sentinels = await startSentinels();
    await using cluster = await startCluster();
    const places = [
      ['--sentinel', sentinels.sentinels.map(({ address }) => address).join(','), '--master', 'mymaster'],
      ['--nodes', cluster.nodes[0]!.address],
    ];
    const connections = [sentinels.connection, cluster.connection];
    for (const [index, place] of places.entries()) {
      const held = services.open(connections[index]!).locks;
      for (const key of ['a', 'b', 'c', 'd']) await held.acquire(key);
      expect(lines(await commandLine(['ls', ...place]))).toHaveLength(5);
      expect(await commandLine(['release', 'b', ...place])).toMatchObject({ code: 0 });
      expect(await commandLine(['inspect', 'b', ...place])).toMatchObject({ code: 1 });
      await services.closeAll();
    }
  }, 60_000);
});
