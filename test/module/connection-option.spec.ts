import { EventEmitter } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import { CLUSTER_OPTIONS, connectionOf, REDIS_OPTIONS } from '../../lib/module/connection-option.js';
import { connectionSettingsOf } from '../../lib/store/redis/connection/connection-settings.js';

/** The shape of a client that createClient of node-redis returns. */
class NodeRedisClient extends EventEmitter {
  isOpen = true;
  isReady = true;
  options = { url: 'redis://elsewhere:6379' };
  duplicate(): NodeRedisClient {
    return this;
  }
  sendCommand(): void {}
}

class Settings {
  host = 'redis';
  port = 6379;
}

const lazy = { lazyConnect: true } as const;
const anotherCopy = Object.assign(Object.create({ duplicate() {}, sendCommand() {} }) as object, {
  status: 'ready',
  options: { host: 'copy', port: 7 },
});

describe('A connection that is accepted leads to', () => {
  it.each([
    ['redis://redis:7000/2', 'redis', 7000],
    ['redis://user:p%25ss@redis:7000/?db=2&family=6&connectTimeout=500', 'redis', 7000],
    ['redis://[::1]:7000', '::1', 7000],
    [{ host: '::1', port: 7000 }, '::1', 7000],
    ['rediss://:secret@redis', 'redis', 6379],
    [{ host: 'redis', port: 7000 }, 'redis', 7000],
    [{ host: 'redis', port: '7000' }, 'redis', 7000],
    [{ port: 7000 }, 'localhost', 7000],
    [{ host: 'redis', password: undefined }, 'redis', 6379],
    [Object.assign(Object.create(null) as object, { host: 'redis' }), 'redis', 6379],
    [new Redis({ host: 'redis', port: 7000, ...lazy }), 'redis', 7000],
    [{ ...new Redis({ host: 'redis', port: 7000, ...lazy }).options }, 'redis', 7000],
    [anotherCopy, 'copy', 7],
  ])('%p', (connection, host, port) => {
    expect(connectionSettingsOf(connectionOf(connection))).toMatchObject({
      kind: 'plain',
      address: { host, port },
    });
  });

  it.each([['/run/redis.sock'], [{ path: '/run/redis.sock' }]])('%p', (connection) => {
    expect(connectionSettingsOf(connectionOf(connection))).toMatchObject({
      address: { path: '/run/redis.sock' },
    });
  });

  it.each([
    [{ nodes: [{ host: 'a', port: 7000 }] }],
    [{ nodes: ['a:7000'] }],
    [{ nodes: ['redis://a:7000'], options: { natMap: {}, redisOptions: { password: 'x' } } }],
    [new Cluster([{ host: 'a', port: 7000 }], lazy)],
  ])('a Cluster: %p', (connection) => {
    expect(connectionSettingsOf(connectionOf(connection))).toMatchObject({
      kind: 'cluster',
      seeds: [{ host: 'a', port: 7000 }],
    });
  });

  it('Sentinels', () => {
    expect(
      connectionSettingsOf(connectionOf({ sentinels: [{ host: 's', port: 7 }], name: 'm', role: 'master' })),
    ).toMatchObject({ kind: 'sentinel', name: 'm', sentinels: [{ host: 's', port: 7 }] });
  });

  it('every option of ioredis', () => {
    // These lines do not compile if ioredis has an option that the lists lack.
    const ofRedis = (name: keyof RedisOptions): (typeof REDIS_OPTIONS)[number] => name;
    const ofCluster = (name: keyof ClusterOptions): (typeof CLUSTER_OPTIONS)[number] => name;
    expect([ofRedis('host'), ofCluster('natMap')]).toEqual(['host', 'natMap']);
    connectionOf({ ...new Redis(lazy).options });
    connectionOf({ nodes: [7000], options: { ...new Cluster([7000], lazy).options } });
  });
});

describe('A connection that would silently lead to another server or database is refused', () => {
  it.each([
    ['a client of node-redis', new NodeRedisClient(), /is a client of node-redis: it must be a redis:\/\//],
    [
      'its options',
      { url: 'redis://h' },
      /the keys url: .* 'url' .*give the URL itself as the connection\.$/,
    ],
    [
      'its socket options',
      { socket: { host: 'h' } },
      /the keys socket: .*options of node-redis: give host, port/,
    ],
    [
      'its Cluster',
      { rootNodes: [{ url: 'redis://h' }] },
      /node-redis: give { nodes: \[{ host, port }\] }\.$/,
    ],
    ['a Map', new Map([['host', 'h']]), /is an instance of Map: it must be/],
    ['a Promise', Promise.resolve({ host: 'h' }), /is a Promise \(await it, in useFactory of forRootAsync\)/],
    ['an array', [{ host: 'h' }], /is an array: it must be/],
    ['an instance of a class', new Settings(), /is an instance of Settings: it must be/],
    ['a class', Redis, /is the function or class Redis/],
    ['a function', () => 'redis://h', /is a function/],
    ['a Date', new Date(), /an instance of Date/],
    ['a URL object', new URL('redis://h'), /an instance of URL/],
    ['no option at all', {}, /is an object that names no server: it must be/],
    ['options without values', { host: undefined, port: null }, /names no server/],
    ['something like ioredis', { duplicate() {}, options: {} }, /no option 'duplicate' of ioredis/],
    ['a misspelt option', { hosst: 'h' }, /no option 'hosst' of ioredis; did you mean 'host'\?$/],
    ['a name of another client', { hostname: 'h' }, /the option is called 'host'/],
    [
      'no environment variable',
      undefined,
      /is undefined \(is an environment variable missing\?\): it must be/,
    ],
    ['an empty one', '', /is an empty text \(is an environment variable empty\?\)/],
    ['null', null, /is null/],
    ['a port alone', 6379, /is 6379: it must be/],
    ['a host alone', 'localhost:6379', /is 'localhost:6379': it must be/],
    ['no host in the URL', 'redis://', /is 'redis:\/\/': it must be/],
    ['a bad URL', 'redis://h:99999', /is 'redis:\/\/h:99999': it must be/],
    ['another scheme', 'http://h', /is 'http:\/\/h'/],
    ['no host, only a port', 'redis:///0', /names no server \(is an environment variable empty\?\)/],
    [
      'options that name no server',
      { password: 'x', db: 2 },
      /names no server, but only password, db: it needs host/,
    ],
    [
      'a URL as the host',
      { host: 'redis://h:1' },
      /whose host is 'redis:\/\/h:1': .*without scheme and port/,
    ],
    ['a host with its port', { host: 'h:7000' }, /whose host is 'h:7000': .*without scheme and port/],
    ['TLS as a text', { host: 'h', tls: 'false' }, /whose tls is 'false': it must be an object/],
    [
      'a socket as a node',
      { nodes: ['/run/redis.sock'] },
      /a list of servers, each of them { host, port } or a URL/,
    ],
    ['another scheme as a node', { nodes: ['http://h:7000'] }, /a list of servers/],
    [
      'Sentinels without a name',
      { sentinels: [{ host: 'h' }] },
      /whose name is undefined.*the name of the master/,
    ],
    ['a password with %', 'redis://:1%x@h', /is 'redis:\/\/\*\*\*@h': .* % that is not encoded/],
    ['an empty host', { host: '' }, /an object whose host is an empty text/],
    ['a port that is no number', { host: 'h', port: Number.NaN }, /whose port is NaN: it must be a number/],
    [
      'no Sentinels',
      { sentinels: [] },
      /whose sentinels is an array: it must be a list of at least one server/,
    ],
    ['no nodes', { nodes: [] }, /whose nodes is an array: it must be a list of at least one server/],
    ['undefined nodes', { nodes: undefined }, /whose nodes is undefined/],
    [
      'a misspelt node',
      { nodes: [{ hosst: 'h' }] },
      /no option 'hosst' of a server in nodes; did you mean 'host'\?$/,
    ],
    ['an empty node', { nodes: [''] }, /whose nodes is an array: it must be a list of servers/],
    [
      'misplaced options',
      { nodes: [7000], redisOptions: {} },
      /'redisOptions' .*{ nodes, options: { redisOptions } }/,
    ],
    [
      'misspelt ones',
      { nodes: [7000], options: { natmap: {} } },
      /an ioredis Cluster; did you mean 'natMap'\?$/,
    ],
    [
      'misspelt inner ones',
      { nodes: [7000], options: { redisOptions: { pasword: 'x' } } },
      /did you mean 'password'/,
    ],
  ])('%s', (_, connection, message) => {
    let error: unknown;
    try {
      connectionOf(connection);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      name: 'LockOptionsError',
      option: 'connection',
      message: expect.stringMatching(message),
    });
    expect((error as Error).message).toMatch(/^Option 'connection' is /);
  });

  it.each([
    ['a name as the database', 'redis://h/locks'],
    ['two databases', 'redis://h/1/2'],
    ['a database that is no number', 'redis://h?db=locks'],
    ['an option that ioredis ignores', 'redis://h?ssl=true'],
    ['a fragment', 'redis://h#2'],
    ['a password with /', 'redis://u:12/secret@h'],
    ['a password with ?', 'redis://u:12?secret@h'],
    ['a password with #', 'redis://u:12#secret@h'],
  ])('%s', (_, url) => {
    expect(() => connectionOf(url)).toThrow(/only the number of a database .* may follow its host/);
    expect(() => connectionOf(url)).not.toThrow(/secret/);
  });

  it('without a password in the message', () => {
    const errors = [
      'redis://u:12/secret@h',
      'redis://:%secret@h',
      'redis:/user:secret@h',
      'http://user:se/cret@h?password=secret',
      'user:secret@h',
      { url: 'x', password: 'secret' },
    ].map((connection) => {
      try {
        return connectionOf(connection);
      } catch (error) {
        return error;
      }
    });
    for (const error of errors)
      expect(JSON.stringify({ ...(error as object) }) + String(error)).not.toMatch(/secret/);
  });
});
