import { Subject } from 'rxjs';
import { Redis } from 'ioredis';
import { NotNow } from './model.js';
import { type Processes, until } from './processes.js';
import { RedisServer } from './redis-server.js';
import { DOWN_AFTER } from './settings.js';

/** The name under which the Sentinels know the master. */
export const MASTER_NAME = 'shop';

/** More than a link holds back in its buffers: what is behind these bytes is with the master only. */
const BEHIND = 1 << 20;

/** What the Sentinels say about the master. */
export interface SentinelReport {
  readonly kind: 'seen-down' | 'agreed-down' | 'promoted';
  /** The server that is down or was promoted. */
  readonly server: RedisServer;
}

/** A Redis master with two replicas and, if asked for, three Sentinels. */
export class RedisServers {
  readonly sentinels: RedisServer[] = [];
  readonly reports = new Subject<SentinelReport>();
  /** The master that was started or promoted last. */
  master: RedisServer;
  /** Reports since the last promotion: each Sentinel says the same. */
  private readonly reported = new Set<string>();

  private constructor(readonly servers: readonly RedisServer[]) {
    this.master = servers[0]!;
  }

  /** Resolves when both replicas follow the master. */
  static async start(processes: Processes): Promise<RedisServers> {
    const names = ['redis-1', 'redis-2', 'redis-3'];
    const all = await Promise.all(names.map((name) => RedisServer.named(name, processes)));
    const redis = new RedisServers(all);
    redis.master.startServer();
    for (const replica of redis.replicas) replica.startServer(redis.master);
    await redis.untilReplicated();
    return redis;
  }

  get replicas(): readonly RedisServer[] {
    return this.servers.filter((server) => server !== this.master);
  }

  async startSentinels(processes: Processes): Promise<void> {
    for (const name of ['sentinel-1', 'sentinel-2', 'sentinel-3']) {
      const sentinel = await RedisServer.named(name, processes);
      sentinel.startSentinel([
        `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${this.master.port} 2`,
        `sentinel down-after-milliseconds ${MASTER_NAME} ${DOWN_AFTER}`,
        `sentinel failover-timeout ${MASTER_NAME} 3000`,
        `sentinel parallel-syncs ${MASTER_NAME} 1`,
      ]);
      this.sentinels.push(sentinel);
      this.subscribe(sentinel);
    }
  }

  /** Resolves when the Sentinels know each other and the replicas. */
  async untilWatched(): Promise<void> {
    await until('the Sentinels know each other and the replicas', async () => {
      for (const { client } of this.sentinels) {
        const replicas = (await client.call('SENTINEL', 'REPLICAS', MASTER_NAME)) as unknown[];
        const others = (await client.call('SENTINEL', 'SENTINELS', MASTER_NAME)) as unknown[];
        if (replicas.length < 2 || others.length < 2) return false;
      }
      return true;
    });
  }

  /** Resolves when this many replicas have confirmed a write of the master. */
  async untilReplicated(replicas = 2): Promise<void> {
    await until(`${replicas} replicas follow the master`, async () => {
      await this.master.client.publish('demo', '');
      return (await this.master.client.wait(replicas, 500)) >= replicas;
    });
  }

  /**
   * Stops the replicas and fills their links: from now on the writes of the master stay in its
   * memory, and are lost if the master is killed. A stopped replica alone would still read them from
   * its socket.
   */
  async letReplicasLag(): Promise<void> {
    const running = this.replicas.filter(({ condition }) => condition === 'running');
    for (const replica of running) replica.stop();
    const { client } = this.master;
    const bulk = 'x'.repeat(BEHIND);
    await until('the links to the stopped replicas are full', async () => {
      await client.set('demo:bulk', bulk, 'PX', 60_000);
      const links = (await client.call('CLIENT', 'LIST', 'TYPE', 'replica')) as string;
      const behind = [...links.matchAll(/ omem=(\d+)/g)].map(([, bytes]) => Number(bytes));
      return behind.length >= running.length && behind.every((bytes) => bytes > BEHIND);
    });
  }

  /** Returns the servers that were stopped. */
  continueReplicas(): readonly RedisServer[] {
    const stopped = this.servers.filter(({ condition }) => condition === 'stopped');
    for (const server of stopped) server.continue();
    return stopped;
  }

  /** kill -9. */
  async killMaster(): Promise<RedisServer> {
    const { master } = this;
    await master.kill();
    return master;
  }

  /** Resolves when the Sentinels have promoted another server than this one. */
  async untilPromoted(dead: RedisServer): Promise<RedisServer> {
    await until(
      'the Sentinels promote a replica',
      async () => this.master !== dead && (await this.master.replication())['role'] === 'master',
      60_000,
    );
    return this.master;
  }

  /** Starts what is dead as replicas of the master. */
  async startAgain(): Promise<readonly RedisServer[]> {
    const dead = this.servers.filter(({ condition }) => condition === 'dead');
    if (dead.includes(this.master)) throw new NotNow('The Sentinels have not promoted a replica yet');
    for (const server of dead) server.startServer(this.master);
    await until('the servers that were started follow the master', async () => {
      const links = await Promise.all(dead.map((server) => server.replication()));
      return links.every((link) => link['master_link_status'] === 'up');
    });
    return dead;
  }

  /**
   * Breaks the link between a replica and the master: the replica gets a password that the master
   * does not know. Everything else of it goes on.
   */
  async cutOff(replica: RedisServer): Promise<void> {
    await replica.client.config('SET', 'masterauth', 'cut-off');
    await replica.client.call('CLIENT', 'KILL', 'TYPE', 'master');
    replica.condition = 'cut-off';
  }

  /** Returns the servers that were cut off. */
  async reconnect(): Promise<readonly RedisServer[]> {
    const cut = this.servers.filter(({ condition }) => condition === 'cut-off');
    for (const server of cut) {
      await server.client.config('SET', 'masterauth', '');
      server.condition = 'running';
    }
    return cut;
  }

  private subscribe(sentinel: RedisServer): void {
    const subscriber = new Redis({
      host: '127.0.0.1',
      port: sentinel.port,
      retryStrategy: () => 100,
      maxRetriesPerRequest: null,
    });
    subscriber.on('error', () => {});
    subscriber.on('message', (channel: string, message: string) => this.onSentinel(channel, message));
    void subscriber.subscribe('+sdown', '+odown', '+switch-master');
  }

  /** `+sdown` and `+odown`: `master <name> <ip> <port>`; `+switch-master`: `<name> <old> <new>`. */
  private onSentinel(channel: string, message: string): void {
    const words = message.split(' ');
    const port = Number(channel === '+switch-master' ? words[4] : words[3]);
    const server = this.servers.find((each) => each.port === port);
    if (server === undefined || (channel !== '+switch-master' && words[0] !== 'master')) return;
    const kind = ({ '+sdown': 'seen-down', '+odown': 'agreed-down' } as const)[channel] ?? 'promoted';
    if ((kind === 'promoted') === (server === this.master) || this.reported.has(kind)) return;
    this.reported.add(kind);
    if (kind === 'promoted') {
      this.master = server;
      this.reported.clear();
    }
    this.reports.next({ kind, server });
  }
}
