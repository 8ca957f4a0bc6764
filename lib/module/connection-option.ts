import type { ClusterOptions, RedisOptions } from 'ioredis';
import { LockOptionsError } from '../lock/errors.js';
import { nearestTo } from '../common/nearest.js';
import { isClusterInstance, isRedisInstance, type RedisConnection } from '../store/redis/options.js';

/** All kinds of connections, for error messages. */
export const ACCEPTED_CONNECTIONS =
  "a redis:// or rediss:// URL, the path of a unix socket, ioredis options, { nodes } of a Redis Cluster, an ioredis Redis or Cluster, or 'memory:'";

/** All options of an ioredis `Redis`. */
export const REDIS_OPTIONS = [
  'Connector',
  'autoPipeliningIgnoredCommands',
  'autoResendUnfulfilledCommands',
  'autoResubscribe',
  'blockingTimeout',
  'blockingTimeoutGrace',
  'clientInfoTag',
  'commandQueue',
  'commandTimeout',
  'connectTimeout',
  'connectionName',
  'db',
  'disableClientInfo',
  'disconnectTimeout',
  'enableAutoPipelining',
  'enableOfflineQueue',
  'enableReadyCheck',
  'enableTLSForSentinelMode',
  'failoverDetector',
  'family',
  'himportFieldsets',
  'host',
  'keepAlive',
  'keyPrefix',
  'lazyConnect',
  'maxLoadingRetryTime',
  'maxRetriesPerRequest',
  'monitor',
  'name',
  'natMap',
  'noDelay',
  'offlineQueue',
  'password',
  'path',
  'port',
  'preferredSlaves',
  'protocol',
  'readOnly',
  'reconnectOnError',
  'replyMapping',
  'retryStrategy',
  'role',
  'scripts',
  'sentinelCommandTimeout',
  'sentinelMaxConnections',
  'sentinelPassword',
  'sentinelReconnectStrategy',
  'sentinelRetryStrategy',
  'sentinelTLS',
  'sentinelUsername',
  'sentinels',
  'showFriendlyErrorStack',
  'socketTimeout',
  'stringNumbers',
  'tls',
  'updateSentinels',
  'username',
] as const satisfies readonly (keyof RedisOptions)[];

/** All options of an ioredis `Cluster`. */
export const CLUSTER_OPTIONS = [
  'autoPipeliningIgnoredCommands',
  'clusterNodeRetryStrategy',
  'clusterRetryStrategy',
  'dnsLookup',
  'enableAutoPipelining',
  'enableOfflineQueue',
  'enableReadyCheck',
  'himportFieldsets',
  'keyPrefix',
  'lazyConnect',
  'maxRedirections',
  'natMap',
  'redisOptions',
  'resolveSrv',
  'retryDelayOnClusterDown',
  'retryDelayOnFailover',
  'retryDelayOnMoved',
  'retryDelayOnTryAgain',
  'scaleReads',
  'scripts',
  'shardedSubscribers',
  'showFriendlyErrorStack',
  'slotsRefreshInterval',
  'slotsRefreshTimeout',
  'useSRVRecords',
] as const satisfies readonly (keyof ClusterOptions)[];

/** Option names of other Redis clients, each with the advice for users of ioredis. */
const FOREIGN: Record<string, string> = {
  url: 'give the URL itself as the connection',
  uri: 'give the URL itself as the connection',
  socket: 'these are the options of node-redis: give host, port and tls beside each other, or a URL',
  rootNodes: 'these are the options of node-redis: give { nodes: [{ host, port }] }',
  sentinelRootNodes: 'these are the options of node-redis: give { sentinels: [{ host, port }], name }',
  hostname: "the option is called 'host'",
  user: "the option is called 'username'",
  pass: "the option is called 'password'",
  database: "the option is called 'db'",
  redisOptions: 'give this in the options of a Cluster: { nodes, options: { redisOptions } }',
};

/**
 * Checks the option `connection`.
 *
 * @throws {LockOptionsError} If the connection is not accepted. The message says what was given and
 * what is accepted, without passwords.
 */
export function connectionOf(connection: unknown): RedisConnection {
  if (typeof connection === 'string') return addressOf(connection);
  if (isRedisInstance(connection) || isClusterInstance(connection)) return connection;
  if (!isPlainObject(connection))
    throw refused(connection, described(connection), `it must be ${ACCEPTED_CONNECTIONS}`);
  if ('nodes' in connection) checkCluster(connection);
  else checkServer(connection);
  return connection;
}

function addressOf(text: string): string {
  if (text.startsWith('memory:') || /^\/[^/]/.test(text)) return text;
  if (/^rediss?:\/\/./.test(text) && URL.canParse(text)) {
    const fault = faultOf(new URL(text));
    if (fault !== undefined) throw refused(withoutPassword(text), `'${withoutPassword(text)}'`, fault);
    return text;
  }
  const shown = withoutPassword(text);
  throw refused(shown, text === '' ? described(text) : `'${shown}'`, `it must be ${ACCEPTED_CONNECTIONS}`);
}

/**
 * Says which part of a server's URL ioredis would ignore or misread. Undefined: no part. The text
 * quotes no part of the URL, because a password with special characters that are not encoded may
 * stand in any part.
 */
function faultOf({ hostname, username, password, pathname, searchParams, hash }: URL): string | undefined {
  if (hostname === '') return 'it names no server (is an environment variable empty?)';
  if (!isDecodable(username) || !isDecodable(password))
    return 'its username or password has a % that is not encoded: write %25, or use encodeURIComponent';
  const isDatabase = /^\/?$|^\/\d+$/.test(pathname) && /^\d*$/.test(searchParams.get('db') ?? '');
  const isKnown = [...searchParams.keys()].every((name) => REDIS_OPTIONS.some((known) => known === name));
  if (isDatabase && isKnown && hash === '') return undefined;
  return (
    'only the number of a database (/2) and options of ioredis (?family=6) may follow its host. ' +
    'Is a special character of the password not encoded (encodeURIComponent)?'
  );
}

function isDecodable(text: string): boolean {
  try {
    return decodeURIComponent(text) !== undefined;
  } catch {
    return false;
  }
}

function checkServer(options: Record<string, unknown>): void {
  refuseUnknown(options, REDIS_OPTIONS, 'ioredis');
  const given = Object.keys(options).filter((name) => options[name] !== undefined && options[name] !== null);
  if (given.length === 0)
    throw refused('an empty object', 'an object that names no server', `it must be ${ACCEPTED_CONNECTIONS}`);
  const { host, port, path, db, name, sentinels, tls } = options;
  if (typeof tls === 'string') throw wrong('tls', tls, 'an object, as of tls.connect');
  if (!isUnset(sentinels)) {
    checkAddresses('sentinels', sentinels);
    if (!isText(name)) throw wrong('name', name, 'the name of the master that the Sentinels watch');
    return;
  }
  if (isUnset(host) && isUnset(port) && isUnset(path)) {
    const what = `an object that names no server, but only ${given.join(', ')}`;
    throw refused(what, what, 'it needs host, port, path, or sentinels and name');
  }
  checkHost('host', host);
  if (!isUnset(path) && !isText(path)) throw wrong('path', path, 'the path of a unix socket');
  if (!isUnset(port) && !isWhole(port, 65_535)) throw wrong('port', port, 'a number up to 65535');
  if (!isUnset(db) && !isWhole(db, 1e9)) throw wrong('db', db, 'a whole number, 0 or more');
}

function checkCluster(connection: Record<string, unknown>): void {
  const { nodes, options } = connection;
  refuseUnknown(connection, ['nodes', 'options'], 'a Cluster, beside nodes and options');
  checkAddresses('nodes', nodes);
  if (isUnset(options)) return;
  if (!isPlainObject(options)) throw wrong('options', options, 'the options of an ioredis Cluster');
  refuseUnknown(options, CLUSTER_OPTIONS, 'an ioredis Cluster');
  const { redisOptions } = options;
  if (isUnset(redisOptions)) return;
  if (!isPlainObject(redisOptions)) throw wrong('redisOptions', redisOptions, 'ioredis options');
  refuseUnknown(redisOptions, REDIS_OPTIONS, 'ioredis');
}

/** Checks a list of servers. ioredis accepts ports, addresses, URLs and options. */
function checkAddresses(name: 'nodes' | 'sentinels', list: unknown): void {
  const form = name === 'nodes' ? '{ host, port } or a URL' : '{ host, port }';
  if (!Array.isArray(list) || list.length === 0)
    throw wrong(name, list, `a list of at least one server, each of them ${form}`);
  for (const each of list as unknown[]) {
    if (name === 'nodes' && isShortAddress(each)) continue;
    if (!isPlainObject(each)) throw wrong(name, list, `a list of servers, each of them ${form}`);
    refuseUnknown(each, REDIS_OPTIONS, `a server in ${name}`);
    const { host, port } = each;
    checkHost(`${name}.host`, host);
    if (!isUnset(port) && !isWhole(port, 65_535)) throw wrong(`${name}.port`, port, 'a number up to 65535');
  }
}

/** A port, `host:port`, or a URL. */
function isShortAddress(node: unknown): boolean {
  if (typeof node === 'number' || /^\d+$/.test(String(node))) return isWhole(node, 65_535);
  if (!isText(node)) return false;
  const url = /^rediss?:\/\//.test(node) ? node : `redis://${node}`;
  return URL.canParse(url) && faultOf(new URL(url)) === undefined;
}

function checkHost(name: string, host: unknown): void {
  if (isUnset(host)) return;
  if (!isText(host)) throw wrong(name, host, 'a text that is not empty');
  // An IPv6 address has more than one colon.
  if (/\/|^[^:]+:\d+$/.test(host)) throw wrong(name, host, 'a name or an address, without scheme and port');
}

function refuseUnknown(options: Record<string, unknown>, known: readonly string[], whose: string): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const meant = nearestTo(unknown, known);
  const advice =
    FOREIGN[unknown] ??
    (meant === undefined ? `it must be ${ACCEPTED_CONNECTIONS}` : `did you mean '${meant}'?`);
  throw refused(
    described(options),
    `an object with the keys ${Object.keys(options).join(', ')}`,
    `there is no option '${unknown}' of ${whose}; ${advice}`,
  );
}

function wrong(name: string, value: unknown, accepted: string): LockOptionsError {
  const what = isText(value) ? `'${withoutPassword(value)}'` : described(value);
  return refused(what, `an object whose ${name} is ${what}`, `it must be ${accepted}`);
}

function refused(value: unknown, what: string, advice: string): LockOptionsError {
  const end = advice.endsWith('?') ? '' : '.';
  // Of an object only the description is kept: a printed error shows all its properties, and the
  // options may have passwords.
  const shown = typeof value === 'object' || typeof value === 'function' ? what : value;
  return new LockOptionsError('connection', shown, `Option 'connection' is ${what}: ${advice}${end}`);
}

function described(value: unknown): string {
  if (value === undefined) return 'undefined (is an environment variable missing?)';
  if (value === '') return 'an empty text (is an environment variable empty?)';
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value === 'function')
    return value.name === '' ? 'a function' : `the function or class ${value.name}`;
  if (typeof value !== 'object') return `a ${typeof value}`;
  if (Array.isArray(value)) return 'an array';
  if (typeof (value as PromiseLike<unknown>).then === 'function')
    return 'a Promise (await it, in useFactory of forRootAsync)';
  if (typeof (value as { isOpen?: unknown }).isOpen === 'boolean') return 'a client of node-redis';
  if (isPlainObject(value)) return 'an object';
  const { name } = value.constructor ?? {};
  return typeof name === 'string' && name !== '' ? `an instance of ${name}` : 'an object of some class';
}

/** True for plain objects of any realm: in Jest there is more than one `Object`. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function isUnset(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}

/** True for a whole number, and for its text, since environment variables are texts. */
function isWhole(value: unknown, most: number): boolean {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= most;
}

function withoutPassword(text: string): string {
  return text.replace(/^([a-z]*:\/{0,2})?.*@/i, '$1***@').replace(/(password=)[^&]*/gi, '$1***');
}
