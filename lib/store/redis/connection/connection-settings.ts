import { Redis } from 'ioredis';
import type { ClusterNode, ClusterOptions, RedisOptions } from 'ioredis';
import type { Address } from '../resp.js';
import { isClusterInstance, isRedisInstance, type RedisConnection } from '../options.js';

/** How Redis is set up, by the user's option `connection`. */
export type ConnectionSettings =
  | { readonly kind: 'plain'; readonly address: Address; readonly options: RedisOptions }
  | {
      readonly kind: 'sentinel';
      readonly name: string;
      readonly sentinels: readonly Address[];
      readonly options: RedisOptions;
    }
  | ClusterSettings;

export interface ClusterSettings {
  readonly kind: 'cluster';
  /** Some nodes of the Cluster, which name the others. */
  readonly seeds: readonly Address[];
  readonly options: RedisOptions;
  readonly natMap: ClusterOptions['natMap'];
}

/** Reads the option `connection`, which was checked before. */
export function connectionSettingsOf(connection: RedisConnection): ConnectionSettings {
  if (isClusterInstance(connection)) {
    const { startupNodes, options } = connection as unknown as {
      startupNodes: ClusterNode[];
      options: ClusterOptions;
    };
    return clusterOf(startupNodes, options);
  }
  if (isClusterNodes(connection)) return clusterOf(connection.nodes, connection.options ?? {});
  const options = optionsOf(connection);
  const { sentinels, name } = options;
  if (sentinels !== undefined && sentinels !== null && sentinels.length > 0) {
    return {
      kind: 'sentinel',
      name: name ?? 'mymaster',
      sentinels: sentinels.map(({ host, port }) => ({ host: host ?? '127.0.0.1', port: port ?? 26379 })),
      options,
    };
  }
  return {
    kind: 'plain',
    address: {
      host: options.host ?? 'localhost',
      port: options.port ?? 6379,
      ...(options.path != null && { path: options.path }),
    },
    options,
  };
}

const LOCAL = '127.0.0.1';

/**
 * Credentials and TLS come from `redisOptions`, else from the URL of the first node. A Cluster
 * has database 0 only.
 */
function clusterOf(nodes: readonly ClusterNode[], { redisOptions, natMap }: ClusterOptions): ClusterSettings {
  const each = nodes.map((node) =>
    optionsOf(
      typeof node === 'string'
        ? node
        : ({ host: LOCAL, ...(typeof node === 'number' ? { port: node } : node) } as RedisOptions),
    ),
  );
  const { username, password, tls } = each[0] ?? {};
  const given = Object.entries({ username, password, tls }).filter(([, value]) => value != null);
  const { db: _db, ...options } = { ...Object.fromEntries(given), ...redisOptions } as RedisOptions;
  return {
    kind: 'cluster',
    seeds: each.map(({ host, port }) => ({ host: host ?? LOCAL, port: port ?? 6379 })),
    options,
    natMap,
  };
}

/** Lets ioredis read URLs and option shorthands, with a client that never connects. */
function optionsOf(connection: string | RedisOptions | Redis): RedisOptions {
  if (isRedisInstance(connection)) return connection.options;
  const probe =
    typeof connection === 'string'
      ? new Redis(connection, { lazyConnect: true })
      : new Redis({ ...connection, lazyConnect: true } as Omit<RedisOptions, 'replyMapping'>);
  const { options } = probe;
  probe.disconnect();
  return options;
}

function isClusterNodes(
  connection: unknown,
): connection is { nodes: ClusterNode[]; options?: ClusterOptions } {
  return typeof connection === 'object' && Array.isArray((connection as { nodes?: unknown }).nodes);
}

/**
 * The options for connections to the Sentinels, which have their own credentials and TLS
 * settings.
 */
export function sentinelOptionsOf(options: RedisOptions): RedisOptions {
  const {
    sentinelUsername,
    sentinelPassword,
    sentinelTLS,
    enableTLSForSentinelMode,
    family,
    connectTimeout,
  } = options;
  return {
    ...(sentinelUsername != null && { username: sentinelUsername }),
    ...(sentinelPassword != null && { password: sentinelPassword }),
    ...(enableTLSForSentinelMode === true && { tls: sentinelTLS ?? options.tls ?? {} }),
    ...(sentinelTLS != null && { tls: sentinelTLS }),
    ...(family != null && { family }),
    ...(connectTimeout != null && { connectTimeout }),
  };
}

/**
 * From the address that a server announces (`ip:port`) to the address at which this process
 * reaches the server. `alias` is another name that the server announces for itself. ioredis looks
 * up the name that the servers prefer, so a user's `natMap` may have either.
 */
export function translated(announced: string, natMap: RedisOptions['natMap'], alias?: string): Address {
  for (const name of alias === undefined ? [announced] : [announced, alias]) {
    const mapped = typeof natMap === 'function' ? natMap(name) : natMap?.[name];
    if (mapped) return { host: mapped.host, port: mapped.port };
  }
  const colon = announced.lastIndexOf(':');
  return { host: announced.slice(0, colon), port: Number(announced.slice(colon + 1)) };
}
