import type { ConfigService } from '@nestjs/config';

/** ioredis options for Sentinels. */
interface BehindSentinels {
  readonly sentinels: { readonly host: string; readonly port: number }[];
  readonly name: string;
}

/**
 * Where Redis is: `REDIS_SENTINELS=host:port,host:port` and `REDIS_MASTER`, or else `REDIS_URL`.
 * Sentinels name the replicas. Behind a URL the shop asks for two.
 */
export function redisSettings(config: ConfigService): {
  connection: string | BehindSentinels;
  replicas: 'all' | number;
} {
  const sentinels = config.get<string>('REDIS_SENTINELS');
  if (sentinels === undefined) return { connection: config.getOrThrow<string>('REDIS_URL'), replicas: 2 };
  return {
    connection: {
      sentinels: sentinels.split(',').map((address) => {
        const [host = '', port] = address.split(':');
        return { host, port: Number(port) };
      }),
      name: config.getOrThrow<string>('REDIS_MASTER'),
    },
    replicas: 'all',
  };
}
