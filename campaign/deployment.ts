import type { Hosts } from './hosts.js';
import { Server } from './server.js';
import { until } from './until.js';

/** The servers that keep the locks, in any arrangement. */
export interface Setup {
  readonly servers: readonly Server[];
  /** Everything that must run: the servers, and the Sentinels if there are any. */
  readonly programs: readonly Server[];
  /** The connection that clients use. */
  readonly connection: SentinelConnection | { readonly nodes: { host: string; port: number }[] };
  /** All masters now. */
  masters(): Promise<Server[]>;
  untilHealthy(): Promise<void>;
  dispose(): Promise<void>;
}

interface SentinelConnection {
  readonly sentinels: { host: string; port: number }[];
  readonly name: string;
}

/** A master, three replicas and three Sentinels, each on a host of its own. */
export class Deployment implements Setup {
  private constructor(
    readonly servers: readonly Server[],
    readonly sentinels: readonly Server[],
  ) {}

  static async start(hosts: Hosts, downAfter: number): Promise<Deployment> {
    const servers: Server[] = [];
    for (let i = 0; i < 4; i++) servers.push(Server.data(await hosts.add(`r${i}`), {}));
    const [master, ...replicas] = servers as [Server, ...Server[]];
    const sentinels: Server[] = [];
    for (let i = 0; i < 3; i++)
      sentinels.push(Server.sentinel(await hosts.add(`s${i}`), master.host, downAfter));
    const deployment = new Deployment(servers, sentinels);
    for (const server of servers) server.start();
    await until('servers answer', async () =>
      (await Promise.all(servers.map((server) => server.call('ping')))).every((pong) => pong === 'PONG'),
    );
    for (const replica of replicas) await replica.call('replicaof', master.host.ip, 6379);
    for (const sentinel of sentinels) sentinel.start();
    await deployment.untilHealthy();
    return deployment;
  }

  get programs(): readonly Server[] {
    return [...this.servers, ...this.sentinels];
  }

  get connection(): SentinelConnection {
    return {
      sentinels: this.sentinels.map(({ host, port }) => ({ host: host.ip, port })),
      name: 'mymaster',
    };
  }

  async masters(): Promise<Server[]> {
    return [await this.master()];
  }

  /** The master that most Sentinels name. */
  async master(): Promise<Server> {
    const names = await Promise.all(
      this.sentinels.map(
        async (sentinel) =>
          (await sentinel.call('sentinel', 'get-master-addr-by-name', 'mymaster')).split('\n')[0],
      ),
    );
    const named = names.find((name, index) => name !== '' && names.indexOf(name) !== index) ?? names[0];
    return this.servers.find((server) => server.host.ip === named) ?? this.servers[0]!;
  }

  async replicas(): Promise<Server[]> {
    const master = await this.master();
    return this.servers.filter((server) => server !== master);
  }

  /** Waits until everything runs, the Sentinels agree, and all replicas follow the master. */
  async untilHealthy(): Promise<void> {
    for (const server of [...this.servers, ...this.sentinels]) {
      if (server.isFrozen) server.thaw();
      if (!server.isRunning) server.start();
    }
    await until(
      'the deployment is whole again',
      async () => {
        const master = await this.master();
        const views = await Promise.all(
          this.sentinels.map(
            async (sentinel) =>
              (await sentinel.call('sentinel', 'get-master-addr-by-name', 'mymaster')).split('\n')[0],
          ),
        );
        if (views.some((view) => view !== master.host.ip)) return false;
        const info = await master.info();
        const online = [...info.values()].filter((value) => value.includes('state=online')).length;
        const links = await Promise.all(
          this.servers
            .filter((server) => server !== master)
            .map(async (server) => (await server.info()).get('master_link_status')),
        );
        return info.get('role') === 'master' && online >= 3 && links.every((link) => link === 'up');
      },
      60_000,
    );
  }

  async dispose(): Promise<void> {
    for (const server of [...this.sentinels, ...this.servers]) {
      await server.kill();
      server.removeFolder();
    }
  }
}
