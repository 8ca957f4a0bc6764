import { Redis, type RedisOptions } from 'ioredis';

export type RawClientOptions = Omit<RedisOptions, 'replyMapping'>;

/**
 * A plain connection for arranging and observing. The client does not reconnect: all answers come
 * from one server, and commands fail when the connection breaks. The owner of the client calls
 * `disconnect()`.
 */
export function rawClient(port: number, options: RawClientOptions = {}): Redis {
  const client = new Redis({
    host: '127.0.0.1',
    port,
    protocol: 2,
    retryStrategy: () => null,
    enableReadyCheck: false,
    maxRetriesPerRequest: 0,
    // Disconnecting waits that long for the server to close too, even if the connection is broken.
    disconnectTimeout: 20,
    ...options,
  });
  // A broken connection shows in the commands. Without a listener the error would be printed too.
  client.on('error', () => {});
  return client;
}
