import { describe, expect, it } from '@jest/globals';
import { readArguments } from '../../lib/cli/arguments.js';
import { targetOf } from '../../lib/cli/target.js';
import { UsageError } from '../../lib/cli/usage.js';

const split = (line: string): string[] => (line === '' ? [] : line.split(' '));

describe('The arguments of the command line', () => {
  it.each([
    ['ls', { kind: 'ls', json: false }],
    ['ls --match order:* --json', { kind: 'ls', match: 'order:*', json: true }],
    ['inspect a', { kind: 'inspect', key: 'a' }],
    ['inspect -- --json', { kind: 'inspect', key: '--json', json: false }],
    ['release a', { kind: 'release', key: 'a', owner: undefined }],
    ['release a rl:x:1', { kind: 'release', key: 'a', owner: 'rl:x:1' }],
    ['--json doctor --url redis://a', { kind: 'doctor', json: true, options: { url: 'redis://a' } }],
    ['doctor --sentinel=a:1,b:2 --master m', { options: { sentinel: 'a:1,b:2', master: 'm' } }],
    ['--help', { kind: 'help' }],
    ['-h inspect', { kind: 'help' }],
    ['--version', { kind: 'version' }],
  ])('%s', (line, expected) => {
    expect(readArguments(split(line))).toMatchObject(expected);
  });

  it.each([
    ['', /Name a command/],
    ['list', /There is no command 'list'/],
    ['toString', /There is no command/],
    ['ls a', /ls takes no argument, and 1 were given/],
    ['inspect', /one key/],
    ['inspect a b', /one key/],
    ['release', /a key, and possibly an owner/],
    ['release a b c', /a key/],
    ['doctor a', /no argument/],
    ['inspect a --match b', /Only ls takes --match/],
    ['ls --mach x', /Unknown option '--mach'/],
    ['ls --match', /--match/],
    ['ls --json=yes', /--json/],
  ])('that are wrong are refused: %s', (line, message) => {
    expect(() => readArguments(split(line))).toThrow(message);
    expect(() => readArguments(split(line))).toThrow(UsageError);
  });
});

describe('The place of Redis', () => {
  it.each<[string, object, Record<string, string>, unknown]>([
    ['a URL', { url: 'redis://a:1' }, {}, 'redis://a:1'],
    ['a URL with TLS', { url: 'rediss://a:1/2' }, {}, 'rediss://a:1/2'],
    ['a unix socket', { url: '/run/redis.sock' }, {}, '/run/redis.sock'],
    [
      'a unix socket with a password',
      { url: '/run/redis.sock' },
      { USERNAME: 'u', PASSWORD: 'p' },
      { path: '/run/redis.sock', username: 'u', password: 'p' },
    ],
    ['a URL of the environment', {}, { URL: 'redis://u:p@a' }, 'redis://u:p@a'],
    ['an option before the environment', { url: 'redis://b' }, { URL: 'redis://a', NODES: 'c' }, 'redis://b'],
    [
      'a password of the environment',
      { url: 'redis://user@a' },
      { PASSWORD: 'p@/:%' },
      'redis://user:p%40%2F%3A%25@a',
    ],
    ['a user of the environment', { url: 'redis://a' }, { USERNAME: 'u', PASSWORD: 'p' }, 'redis://u:p@a'],
    ['the credentials of a URL first', {}, { URL: 'redis://u:p@a', PASSWORD: 'x' }, 'redis://u:p@a'],
    [
      'Sentinels',
      { sentinel: 'a:1, b,[::1]:3', master: 'm' },
      { PASSWORD: 'p', SENTINEL_PASSWORD: 's' },
      {
        sentinels: [
          { host: 'a', port: 1 },
          { host: 'b', port: 26_379 },
          { host: '::1', port: 3 },
        ],
        name: 'm',
        password: 'p',
        sentinelPassword: 's',
      },
    ],
    [
      'Sentinels of the environment, with TLS',
      {},
      { SENTINELS: 'rediss://a', MASTER: 'm', SENTINEL_USERNAME: 'su' },
      {
        sentinels: [{ host: 'a', port: 26_379 }],
        name: 'm',
        sentinelUsername: 'su',
        tls: {},
        sentinelTLS: {},
      },
    ],
    [
      'a Cluster',
      { nodes: 'rediss://a:7000,rediss://b' },
      { USERNAME: 'u', PASSWORD: 'p' },
      {
        nodes: [
          { host: 'a', port: 7_000 },
          { host: 'b', port: 6_379 },
        ],
        options: { redisOptions: { username: 'u', password: 'p', tls: {} } },
      },
    ],
    [
      'a Cluster of the environment',
      {},
      { NODES: 'a' },
      { nodes: [{ host: 'a', port: 6_379 }], options: { redisOptions: {} } },
    ],
  ])('may be %s', (_, options, env, connection) => {
    const named = Object.fromEntries(
      Object.entries(env).map(([name, value]) => [`REPLICA_LOCK_${name}`, value]),
    );
    expect(targetOf(options, named).connection).toEqual(connection);
  });

  it.each<[object, RegExp]>([
    [{}, /Say where Redis is/],
    [{ url: 'redis://a', nodes: 'b' }, /only one of/],
    [{ sentinel: 'a' }, /--master/],
    [{ url: 'redis://a', master: 'm' }, /--master names a master/],
    [{ nodes: 'a b' }, /--nodes needs addresses as host:port/],
    [{ nodes: 'a,,b' }, /host:port/],
    [{ nodes: 'redis://u:secret@a' }, /without a password/],
    [{ sentinel: 'redis://a,rediss://b', master: 'm' }, /with and without TLS/],
    [{ url: 'memory:' }, /no server to ask/],
    [{ url: 'redis://user:secret@a' }, /REPLICA_LOCK_PASSWORD/],
    [{ url: 'redis://:secret@a' }, /REPLICA_LOCK_PASSWORD/],
    [{ url: 'redis://:se/cret@a' }, /REPLICA_LOCK_PASSWORD/],
    [{ url: 'redis://a?password=secret' }, /REPLICA_LOCK_PASSWORD/],
  ])('%j is refused, and no secret is in the message', (options, message) => {
    const target = (): unknown => targetOf(options, {});
    expect(target).toThrow(message);
    expect(target).toThrow(UsageError);
    try {
      target();
    } catch (error) {
      expect((error as Error).message).not.toContain('secret');
      expect((error as Error).message).not.toContain('cret@');
    }
  });

  it('knows the secrets that must not be printed, in every form', () => {
    const env = {
      REPLICA_LOCK_URL: 'redis://u:p%40ss@a',
      REPLICA_LOCK_PASSWORD: 'other',
      REPLICA_LOCK_SENTINEL_PASSWORD: 'third',
    };
    expect(targetOf({}, env).secrets.toSorted()).toEqual(['other', 'p%40ss', 'p@ss', 'third']);
  });
});
