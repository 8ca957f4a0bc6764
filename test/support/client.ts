import { Redis, type RedisOptions } from 'ioredis';

export type RawClientOptions = Omit<RedisOptions, 'replyMapping'>;

/**
 * A plain connection for arranging and looking. It does not reconnect, so that what it shows comes from the server it was
 * opened to, and gives up on a command when the connection breaks. Its owner ends it with `disconnect()`.
 */
export function rawClient(port: number, options: RawClientOptions = {}): Redis {
  const client = new Redis({
    host: '127.0.0.1',
    port,
    protocol: 2,
    retryStrategy: () => null,
    enableReadyCheck: false,
    maxRetriesPerRequest: 0,
    // Disconnecting waits that long for the server to close as well, a broken connection included.
    disconnectTimeout: 20,
    ...options,
  });
  // A broken connection shows in the commands; without a listener it would be printed as well.
  client.on('error', () => {});
  return client;
}
