import type { Cluster, ClusterNode, ClusterOptions, Redis, RedisOptions } from 'ioredis';
import type { ReplicaPolicy } from '../lock-store.js';

/**
 * The server or servers to connect to: a `redis://` or `rediss://` URL, ioredis options (also for
 * Sentinel), the nodes of a Cluster, or an ioredis instance whose options are reused.
 */
export type RedisConnection =
  string | RedisOptions | { nodes: ClusterNode[]; options?: ClusterOptions } | Redis | Cluster;

/**
 * Whether the value is an ioredis client. The shape decides, because the client may come from
 * another copy of the library. Clients of node-redis have `duplicate` and `options` too.
 */
export function isRedisInstance(value: unknown): value is Redis {
  const { status, options, duplicate, sendCommand } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof status === 'string' &&
    typeof options === 'object' &&
    options !== null &&
    typeof duplicate === 'function' &&
    typeof sendCommand === 'function'
  );
}

export function isClusterInstance(value: unknown): value is Cluster {
  const { isCluster, startupNodes, options } = (value ?? {}) as Record<string, unknown>;
  return isCluster === true && Array.isArray(startupNodes) && typeof options === 'object' && options !== null;
}

/** All times in ms. */
export interface RedisStoreOptions {
  readonly connection: RedisConnection;
  readonly keyPrefix: string;
  readonly replicas: ReplicaPolicy;
  readonly allowNoReplicas: boolean;
  /** The longest lease of any program on this Redis. 0: the age of links does not matter. */
  readonly quarantine: number;
  readonly replicaTimeout: number;
  readonly clockSkew: number;
  readonly allowEviction: boolean;
}
