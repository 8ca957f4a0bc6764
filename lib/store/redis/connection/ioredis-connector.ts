import { Redis } from 'ioredis';
import type { RedisOptions } from 'ioredis';
import type { Connection, Connector } from './connection.js';
import { ErrorReply, type Address } from '../resp.js';
import { SocketConnection } from './socket-connection.js';

/**
 * What is taken over from a user's options: how to reach the server, and the credentials. Other
 * options could break the protocol. A `keyPrefix` hides the keys that notices name, a
 * `commandTimeout` ends WAIT, and `stringNumbers` changes replies. A retry strategy sends WAIT
 * again on a connection that wrote nothing.
 */
const TAKEN_OVER = [
  'tls',
  'username',
  'password',
  'family',
  'keepAlive',
  'noDelay',
] as const satisfies readonly (keyof RedisOptions)[];

/**
 * ms that connecting may take, unless the user's options say otherwise. A server that does not
 * answer must not delay the search for its successor. If five round trips to a distant server
 * take longer, the user sets `connectTimeout`.
 */
const CONNECT_TIMEOUT = 2_000;
/** The `connectTimeout` in ms of every ioredis instance whose owner set none. */
const IOREDIS_CONNECT_TIMEOUT = 10_000;

const OURS: RedisOptions = {
  protocol: 2,
  // One limit covers all steps of connecting: see `connecting`.
  connectTimeout: 0,
  lazyConnect: true,
  // No retries: this library makes the next connection itself.
  retryStrategy: () => null,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  autoResubscribe: false,
  disableClientInfo: true,
  // A connection that is given up ends at once. By default ioredis waits for the server to close
  // it.
  disconnectTimeout: 0,
};

export class IoredisConnector implements Connector {
  readonly connectTimeout: number;

  constructor(private readonly options: RedisOptions) {
    const given = Number(options.connectTimeout);
    this.connectTimeout = given > 0 && given !== IOREDIS_CONNECT_TIMEOUT ? given : CONNECT_TIMEOUT;
  }

  async connect({ host, port, path }: Address, label: string, signal: AbortSignal): Promise<Connection> {
    const redis = new Redis({
      ...pick(this.options, TAKEN_OVER),
      ...OURS,
      ...(path === undefined ? { host, port } : { path }),
    } as Omit<RedisOptions, 'replyMapping'>);
    let cause: unknown;
    redis.on('error', (error: unknown) => {
      cause ??= inOurWords(error);
      hearFurtherErrors(redis);
    });
    const giveUp = (): void => disconnect(redis);
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      signal.throwIfAborted();
      await redis.connect();
      // The connection may have ended before a listener was set.
      if (redis.status !== 'ready') throw new Error('Connection is closed');
      await introduce(redis, label, this.options.db ?? 0);
      // ioredis 5 does not wait for AUTH, and goes on after a wrong password.
      if (cause !== undefined) throw cause;
      return new SocketConnection(redis.stream, () => disconnect(redis));
    } catch (error) {
      disconnect(redis);
      throw refusalOf(cause ?? error) ?? refusalOf(error) ?? inOurWords(cause ?? error);
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }
}

/**
 * Names the connection and chooses its database. ioredis could do both, but goes on in database 0
 * if the server refuses SELECT. ioredis also hides the message with which a server rejects a
 * client, because that message is the answer to the first command.
 */
async function introduce(redis: Redis, label: string, db: number): Promise<void> {
  const named = redis.client('SETNAME', `replica-lock:${label}`).catch((error: unknown) => {
    // If the user may not run CLIENT SETNAME, the connection has no name.
    if (refusalOf(error)?.isFarewell !== false) throw error;
  });
  await Promise.all([named, db > 0 && redis.select(db)]);
}

function disconnect(redis: Redis): void {
  hearFurtherErrors(redis);
  redis.disconnect();
}

/**
 * ioredis listens to the first error of a socket only. A TLS socket emits a second error if the
 * server's certificate is for another host, and an error without a listener ends the process.
 */
function hearFurtherErrors({ stream }: Redis): void {
  // The stream does not exist before ioredis has begun to connect.
  (stream as typeof stream | undefined)?.on('error', () => {});
}

/** The server's own error; undefined if the connection failed without an answer. */
function refusalOf(error: unknown): ErrorReply | undefined {
  const { name, message } = error as Error;
  return name === 'ReplyError' ? new ErrorReply(message) : undefined;
}

/**
 * Replaces the message of ioredis for a connection that was closed right after it was made. That
 * message names options that the user did not set.
 */
function inOurWords(error: unknown): unknown {
  const { message = '' } = error as { message?: string };
  return /^(Stream isn't writeable|Connection is closed)/.test(message)
    ? new Error('the connection was closed as soon as it was made')
    : error;
}

function pick<T extends object, K extends keyof T>(from: T, names: readonly K[]): Partial<Pick<T, K>> {
  const picked: Partial<Pick<T, K>> = {};
  for (const name of names) if (from[name] !== undefined && from[name] !== null) picked[name] = from[name];
  return picked;
}
