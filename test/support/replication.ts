import { startRedis, type RedisConfig, type RedisProcess } from './redis-process.js';
import { until } from './eventually.js';

/** A master and replicas, as real processes. Resolves when every replica is online. */
export async function startReplication({
  replicas = 2,
  config = {},
}: { replicas?: number; config?: RedisConfig } = {}): Promise<Replication> {
  const replication = new Replication(await startRedis(config), config);
  try {
    await Promise.all(Array.from({ length: replicas }, () => replication.join()));
    await replication.waitUntilOnline();
    return replication;
  } catch (error) {
    await replication.dispose();
    throw error;
  }
}

export class Replication {
  readonly replicas: RedisProcess[] = [];

  constructor(
    readonly master: RedisProcess,
    private readonly config: RedisConfig,
  ) {}

  get url(): string {
    return this.master.url;
  }

  /** The n-th replica, from 0. */
  replica(index: number): RedisProcess {
    const replica = this.replicas[index];
    if (!replica) throw new Error(`There are ${this.replicas.length} replicas, none with index ${index}`);
    return replica;
  }

  /** Adds a replica. Resolves when the master counts the replica. */
  async addReplica(config: RedisConfig = {}): Promise<RedisProcess> {
    const replica = await this.join(config);
    await this.waitUntilOnline();
    return replica;
  }

  /** Starts a replica. Does not wait until the master counts the replica. */
  async join(config: RedisConfig = {}): Promise<RedisProcess> {
    const replica = await startRedis({
      ...this.config,
      replicaof: `127.0.0.1 ${this.master.port}`,
      ...config,
    });
    this.replicas.push(replica);
    return replica;
  }

  /**
   * Waits until the master lists that many replicas as online (default: all) and each has
   * acknowledged a write.
   */
  async waitUntilOnline(count = this.replicas.length, { within = 15_000 } = {}): Promise<void> {
    await waitUntilOnline(this.master, count, { within });
  }

  async dispose(): Promise<void> {
    await Promise.all([this.master, ...this.replicas].map((server) => server.dispose()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Waits until `master` lists `count` replicas as online and each has acknowledged a write of now.
 */
export async function waitUntilOnline(
  master: RedisProcess,
  count: number,
  { within = 15_000 } = {},
): Promise<void> {
  const client = master.client();
  try {
    await until(
      async () => {
        // For a connection that has written nothing, WAIT would answer the full count. PUBLISH is
        // replicated and leaves nothing behind.
        await client.publish('test:online', '');
        const acknowledged = count === 0 ? 0 : await client.wait(count, 500);
        const listed = (await client.info('replication')).match(/^slave\d+:.*state=online/gm) ?? [];
        return acknowledged >= count && listed.length >= count;
      },
      { within, what: `${count} replicas of ${master.address} are online` },
    );
  } finally {
    client.disconnect();
  }
}
