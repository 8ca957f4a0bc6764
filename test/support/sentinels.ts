import { until } from './eventually.js';
import { startRedis, type RedisConfig, type RedisProcess } from './redis-process.js';
import { waitUntilOnline } from './replication.js';

/** The name under which the Sentinels know the master. */
export const MASTER_NAME = 'mymaster';

interface SentinelSetup {
  readonly replicas?: number;
  /**
   * ms without an answer after which a Sentinel declares the master dead.
   *
   * Must be more than the second between two connection attempts of a Sentinel. A Sentinel that has
   * just tried the dead master asks the new master only after that second. With a shorter time the
   * Sentinel would declare the new master dead too, and fail over a second time.
   */
  readonly downAfter?: number;
  readonly config?: RedisConfig;
  /** Configuration of every Sentinel, applied before the Sentinel is told of the master. */
  readonly sentinelConfig?: RedisConfig;
  /** The host name of the master in the Sentinels' configuration. */
  readonly masterHost?: string;
}

/**
 * A master, replicas and three Sentinels, as real processes. Resolves when the Sentinels know all
 * servers.
 */
export async function startSentinels({
  replicas = 2,
  downAfter = 1_600,
  config = {},
  sentinelConfig = {},
  masterHost = '127.0.0.1',
}: SentinelSetup = {}): Promise<SentinelDeployment> {
  const master = await startRedis(config);
  const deployment = new SentinelDeployment([master], [], config, sentinelConfig);
  try {
    for (let i = 0; i < replicas; i++) await deployment.addReplica();
    await waitUntilOnline(master, replicas);
    const monitor = {
      'sentinel monitor': `${MASTER_NAME} ${masterHost} ${master.port} 2`,
      'sentinel down-after-milliseconds': `${MASTER_NAME} ${downAfter}`,
      'sentinel failover-timeout': `${MASTER_NAME} 3000`,
      'sentinel parallel-syncs': `${MASTER_NAME} 2`,
    };
    for (let i = 0; i < 3; i++)
      deployment.sentinels.push(await startRedis({ ...sentinelConfig, ...monitor }, 'sentinel'));
    await deployment.untilKnown();
    return deployment;
  } catch (error) {
    await deployment.dispose();
    throw error;
  }
}

export class SentinelDeployment {
  constructor(
    readonly servers: RedisProcess[],
    readonly sentinels: RedisProcess[],
    private readonly config: RedisConfig,
    private readonly sentinelConfig: RedisConfig,
  ) {}

  /** ioredis options for a connection through these Sentinels. */
  get connection(): { sentinels: { host: string; port: number }[]; name: string; connectTimeout: number } {
    return {
      sentinels: this.sentinels.map(({ port }) => ({ host: '127.0.0.1', port })),
      name: MASTER_NAME,
      connectTimeout: 500,
    };
  }

  /** The master that this Sentinel (default: the first) names. */
  async master(sentinel = this.sentinels[0]!): Promise<RedisProcess> {
    const [, port] = (await this.ask(sentinel, 'get-master-addr-by-name', MASTER_NAME)) as [string, string];
    const server = this.servers.find((each) => each.port === Number(port));
    if (server === undefined)
      throw new Error(`The Sentinels name a master on port ${port} that is none of ours`);
    return server;
  }

  /** All servers but the master. */
  async replicas(): Promise<RedisProcess[]> {
    const master = await this.master();
    return this.servers.filter((server) => server !== master);
  }

  async addReplica(): Promise<RedisProcess> {
    const master = this.sentinels.length === 0 ? this.servers[0]! : await this.master();
    const replica = await startRedis({ ...this.config, replicaof: `127.0.0.1 ${master.port}` });
    this.servers.push(replica);
    return replica;
  }

  /** Waits until all Sentinels name a new master, and that server reports itself as a master. */
  async untilPromoted(old: RedisProcess, { within = 15_000 } = {}): Promise<RedisProcess> {
    return until(
      async () => {
        const named = await Promise.all(this.sentinels.map((sentinel) => this.master(sentinel)));
        const [first] = named;
        if (first === old || named.some((each) => each !== first)) return undefined;
        return (await first!.info('replication'))['role'] === 'master' ? first : undefined;
      },
      { within, what: `another master than ${old.address} is in charge` },
    );
  }

  /**
   * SENTINEL FAILOVER, repeated if Sentinel gives up, as happens on a busy machine. Resolves to the
   * new master.
   */
  async handOver(): Promise<RedisProcess> {
    const before = await this.master();
    const sentinel = this.sentinels[0]!;
    await until(
      async () => {
        if ((await this.master(sentinel)) !== before) return true;
        if (!(await this.flagsAt(sentinel)).includes('failover'))
          await this.ask(sentinel, 'failover', MASTER_NAME);
        return false;
      },
      { within: 20_000, what: `a replica takes over from ${before.address}` },
    );
    return this.untilPromoted(before);
  }

  /** The state of the master in a Sentinel's view: `master,failover_in_progress`. */
  private async flagsAt(sentinel: RedisProcess): Promise<string> {
    const record = (await this.ask(sentinel, 'master', MASTER_NAME)) as string[];
    return record[record.indexOf('flags') + 1] ?? '';
  }

  /** Waits until every Sentinel knows the replicas and the other Sentinels. */
  async untilKnown(): Promise<void> {
    const replicas = this.servers.length - 1;
    await until(
      async () => {
        for (const sentinel of this.sentinels) {
          const named = (await this.ask(sentinel, 'replicas', MASTER_NAME)) as unknown[];
          const others = (await this.ask(sentinel, 'sentinels', MASTER_NAME)) as unknown[];
          if (named.length < replicas || others.length < this.sentinels.length - 1) return false;
        }
        return true;
      },
      { within: 20_000, what: 'the Sentinels know each other and the replicas' },
    );
  }

  /** Repairs everything: every server runs and follows the one master, and the Sentinels agree. */
  async mend(): Promise<void> {
    for (const server of [...this.sentinels, ...this.servers]) await server.revive();
    await until(
      async () => {
        const master = await this.master();
        for (const sentinel of this.sentinels) {
          // A Sentinel that still moves the replicas of the last fail-over does not see the next.
          const isBusy = /down|failover/.test(await this.flagsAt(sentinel));
          if (isBusy || (await this.master(sentinel)) !== master) return false;
        }
        if ((await master.info('replication'))['role'] !== 'master') return false;
        // Sentinel itself takes 10 s to demote a former master.
        for (const server of this.servers) {
          if (server === master) continue;
          const { role, master_port: follows } = await server.info('replication');
          if (role === 'master' || Number(follows) !== master.port)
            await server.call('REPLICAOF', '127.0.0.1', master.port);
        }
        return true;
      },
      { within: 20_000, what: 'all servers follow one master' },
    );
    const master = await this.master();
    await waitUntilOnline(master, this.servers.length - 1, { within: 20_000 });
    await this.untilKnown();
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.sentinels, ...this.servers].map((server) => server.dispose()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  private async ask(sentinel: RedisProcess, ...args: string[]): Promise<unknown> {
    const password = this.sentinelConfig['requirepass'];
    const client = sentinel.client(password === undefined ? {} : { password: String(password) });
    try {
      return await client.call('SENTINEL', ...args);
    } finally {
      client.disconnect();
    }
  }
}
