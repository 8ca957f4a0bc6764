import { hashSlot, hasSlot } from '../../lib/store/redis/cluster/hash-slot.js';
import { until } from './eventually.js';
import { startRedis, type RedisConfig, type RedisProcess } from './redis-process.js';

/** ms after which a silent node is suspected, and masters without a majority stop. */
const NODE_TIMEOUT = 2_000;
const SLOTS = 16_384;

export interface ClusterOptions {
  masters?: number;
  replicas?: number;
  config?: RedisConfig;
}

/** The slot of a lock's key, with the default prefix. */
export const slotOf = (key: string): number => hashSlot(`lock:${key}`);

/**
 * A Redis Cluster of real processes, each master with replicas. Resolves when all nodes know each
 * other and every replica is online.
 */
export async function startCluster({
  masters = 3,
  replicas = 1,
  config = {},
}: ClusterOptions = {}): Promise<TestCluster> {
  const cluster = new TestCluster(config);
  try {
    await cluster.start(masters, replicas);
    return cluster;
  } catch (error) {
    await cluster.dispose();
    throw error;
  }
}

/** One line of CLUSTER NODES. */
export interface NodeLine {
  readonly id: string;
  readonly port: number;
  readonly flags: readonly string[];
  readonly masterId: string | undefined;
  readonly slots: readonly (readonly [number, number])[];
}

export class TestCluster {
  readonly nodes: RedisProcess[] = [];
  private readonly ids = new Map<RedisProcess, string>();
  /** How many keys were made. */
  private keys = 0;

  constructor(private readonly config: RedisConfig) {}

  /** The connection for a store: all nodes as seeds. */
  get connection(): { nodes: { host: string; port: number }[] } {
    return { nodes: this.nodes.map(({ port }) => ({ host: '127.0.0.1', port })) };
  }

  async start(masters: number, replicas: number): Promise<void> {
    await Promise.all(Array.from({ length: masters * (1 + replicas) }, () => this.launch()));
    const [first, ...others] = this.nodes;
    // With epochs of their own choice, no two masters collide and change their epochs later.
    for (const [index, node] of this.nodes.entries())
      await node.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    await Promise.all(others.map((node) => node.call('CLUSTER', 'MEET', '127.0.0.1', first!.port)));
    await this.untilKnown();
    const share = Math.ceil(SLOTS / masters);
    for (let i = 0; i < masters; i++) {
      const last = Math.min(SLOTS, (i + 1) * share) - 1;
      await this.nodes[i]!.call('CLUSTER', 'ADDSLOTSRANGE', i * share, last);
    }
    for (let i = masters; i < this.nodes.length; i++)
      await this.nodes[i]!.call('CLUSTER', 'REPLICATE', this.idOf(this.nodes[i % masters]!));
    await this.untilDivided(masters * replicas);
    await this.untilWhole();
  }

  /**
   * Waits until every node has heard of all slots and all replicas. Without full coverage the state
   * of a node is `ok` long before.
   */
  private async untilDivided(replicas: number): Promise<void> {
    await until(
      async () => {
        for (const node of this.nodes) {
          const assigned = `cluster_slots_assigned:${SLOTS}`;
          if (!String(await node.call('CLUSTER', 'INFO')).includes(assigned)) return false;
          const following = (await this.view(node)).filter(({ masterId }) => masterId !== undefined);
          if (following.length !== replicas) return false;
        }
        return true;
      },
      { within: 20_000, what: 'every node knows which master serves which slots' },
    );
  }

  /** Adds a node that all nodes know: a master without slots, or a replica of `master`. */
  async add({ replicaOf }: { replicaOf?: RedisProcess } = {}): Promise<RedisProcess> {
    const node = await this.launch();
    await node.call('CLUSTER', 'SET-CONFIG-EPOCH', this.nodes.indexOf(node) + 100);
    await node.call('CLUSTER', 'MEET', '127.0.0.1', this.running.find((each) => each !== node)!.port);
    await this.untilKnown();
    await until(async () => String(await node.call('CLUSTER', 'INFO')).includes('cluster_state:ok'), {
      within: 10_000,
      what: `${node.address} takes part`,
    });
    if (replicaOf !== undefined) await this.follow(node, replicaOf);
    return node;
  }

  /** Makes a master without slots a replica. Resolves when all nodes know of the change. */
  async follow(node: RedisProcess, master: RedisProcess): Promise<void> {
    await node.call('CLUSTER', 'REPLICATE', this.idOf(master));
    await this.untilFollows(node, master);
    await until(
      async () => {
        const views = await Promise.all(this.running.map((each) => this.view(each)));
        return views.every(
          (view) => view.find(({ id }) => id === this.idOf(node))?.masterId === this.idOf(master),
        );
      },
      { within: 10_000, what: `every node knows whose replica ${node.address} is` },
    );
  }

  idOf(node: RedisProcess): string {
    return this.ids.get(node)!;
  }

  /** Nodes that are neither dead nor stopped. */
  get running(): RedisProcess[] {
    return this.nodes.filter((node) => node.isRunning);
  }

  /** One node's view of all nodes. */
  async view(of: RedisProcess = this.running[0]!): Promise<NodeLine[]> {
    const text = String(await of.call('CLUSTER', 'NODES'));
    return text
      .trim()
      .split('\n')
      .map((line) => {
        const [id = '', address = '', flags = '', master, , , , , ...ranges] = line.split(' ');
        return {
          id,
          port: Number(/:(\d+)@/.exec(address)?.[1]),
          flags: flags.split(','),
          masterId: master === '-' ? undefined : master,
          slots: ranges
            .filter((range) => !range.startsWith('['))
            .map((range) => {
              const [from, to = from] = range.split('-').map(Number);
              return [from!, to!] as const;
            }),
        };
      });
  }

  /** The master of the slot, in the view of the running nodes. */
  async ownerOf(slot: number): Promise<RedisProcess> {
    const view = await this.view();
    const line = view.find(({ slots }) => hasSlot(slots, slot));
    const node = this.nodes.find(({ port }) => port === line?.port);
    if (node === undefined) throw new Error(`No master serves slot ${slot}`);
    return node;
  }

  /** A fresh key whose slot this master serves: see `slotOf`. */
  async keyOf(master: RedisProcess): Promise<string> {
    const line = (await this.view(master)).find(({ port }) => port === master.port);
    if (!line?.slots.length) throw new Error(`${master.address} serves no slots`);
    for (;;) {
      const key = `key-${++this.keys}`;
      if (hasSlot(line.slots, slotOf(key))) return key;
    }
  }

  async replicasOf(master: RedisProcess): Promise<RedisProcess[]> {
    const view = await this.view();
    const ports = view
      .filter(({ masterId, flags }) => masterId === this.idOf(master) && !flags.includes('fail'))
      .map(({ port }) => port);
    return this.nodes.filter(({ port }) => ports.includes(port));
  }

  /** The slot of a key by CLUSTER KEYSLOT. */
  async slotOf(key: string): Promise<number> {
    return Number(await this.running[0]!.call('CLUSTER', 'KEYSLOT', key));
  }

  /** Sends one command to the master of the key. */
  async call(command: string, key: string, ...args: (string | number)[]): Promise<unknown> {
    const owner = await this.ownerOf(await this.slotOf(key));
    return owner.call(command, key, ...args);
  }

  /** Begins to move a slot: afterwards the keys can be moved one by one. */
  async beginMove(slot: number, to: RedisProcess): Promise<RedisProcess> {
    const from = await this.ownerOf(slot);
    await to.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', this.idOf(from));
    await from.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', this.idOf(to));
    return from;
  }

  async moveKeys(slot: number, from: RedisProcess, to: RedisProcess): Promise<void> {
    for (;;) {
      const keys = (await from.call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[];
      if (keys.length === 0) return;
      await from.call('MIGRATE', '127.0.0.1', to.port, '', 0, 2_000, 'REPLACE', 'KEYS', ...keys);
    }
  }

  /** Gives the slot to the new master. The new master is told first, as redis-cli does. */
  async endMove(slot: number, to: RedisProcess): Promise<void> {
    const view = await this.view(to);
    const masters = this.running.filter((node) =>
      view.some(({ port, flags }) => port === node.port && flags.includes('master')),
    );
    for (const node of [to, ...masters.filter((each) => each !== to)]) {
      try {
        await node.call('CLUSTER', 'SETSLOT', slot, 'NODE', this.idOf(to));
      } catch (error) {
        // This node has just become a replica.
        if (!/only with masters/.test(String(error))) throw error;
      }
    }
  }

  /** Moves slots with their keys. */
  async move(slots: Iterable<number>, to: RedisProcess): Promise<void> {
    for (const slot of slots) {
      const from = await this.beginMove(slot, to);
      await this.moveKeys(slot, from, to);
      await this.endMove(slot, to);
    }
  }

  /**
   * From now on the replicas may take this master's place by themselves. `stop` and `kill` of a
   * node permit that too. On a busy machine a master may be silent for long enough to be replaced;
   * without a fault of the test, the master must keep its slots.
   */
  private async permitFailOver(master: RedisProcess): Promise<void> {
    try {
      for (const replica of await this.replicasOf(master))
        await replica.call('CONFIG', 'SET', 'cluster-replica-no-failover', 'no');
    } catch {
      // If a whole shard is killed, the other nodes are killed at the same time.
    }
  }

  /**
   * Waits until a replica has taken the place of a master that died or hangs. Answers that replica.
   */
  async untilReplaced(master: RedisProcess, slot: number): Promise<RedisProcess> {
    let owner = master;
    await until(
      async () => {
        owner = await this.ownerOf(slot);
        return owner !== master;
      },
      { within: 15_000, what: `a replica of ${master.address} is promoted` },
    );
    return owner;
  }

  /** CLUSTER FAILOVER on a replica. Resolves when all nodes see that replica as the master. */
  async failOver(replica: RedisProcess): Promise<void> {
    await replica.call('CLUSTER', 'FAILOVER');
    await until(
      async () => {
        const views = await Promise.all(this.running.map((node) => this.view(node)));
        return views.every((view) =>
          view.some(({ port, slots }) => port === replica.port && slots.length > 0),
        );
      },
      { within: 15_000, what: `${replica.address} is the master` },
    );
  }

  /** Waits until all slots are served, all views agree, and every replica follows a master. */
  async untilWhole(): Promise<void> {
    await until(
      async () => {
        const states = await Promise.all(
          this.running.map(async (node) => String(await node.call('CLUSTER', 'INFO'))),
        );
        if (!states.every((state) => state.includes('cluster_state:ok'))) return false;
        const view = await this.view();
        for (const { port, masterId } of view) {
          if (masterId === undefined) continue;
          const replica = this.running.find((node) => node.port === port);
          if (replica === undefined) continue;
          const info = await replica.info('replication');
          if (info['master_link_status'] !== 'up') return false;
        }
        return true;
      },
      { within: 20_000, what: 'the cluster is whole' },
    );
  }

  async dispose(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.dispose()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  private async launch(): Promise<RedisProcess> {
    const node = await startRedis(
      {
        'cluster-enabled': 'yes',
        'cluster-node-timeout': NODE_TIMEOUT,
        'cluster-require-full-coverage': 'no',
        'cluster-allow-replica-migration': 'no',
        'cluster-replica-no-failover': 'yes',
        'repl-ping-replica-period': 1,
        ...this.config,
      },
      'cluster',
    );
    node.beforeOutage = () => this.permitFailOver(node);
    this.nodes.push(node);
    this.ids.set(node, String(await node.call('CLUSTER', 'MYID')));
    return node;
  }

  private async untilKnown(): Promise<void> {
    await until(
      async () => {
        const views = await Promise.all(this.running.map((node) => this.view(node)));
        return views.every(
          (view) =>
            this.running.every(({ port }) => view.some((line) => line.port === port)) &&
            view.every(({ flags }) => !flags.includes('handshake')),
        );
      },
      { within: 15_000, what: 'all nodes know each other' },
    );
  }

  private async untilFollows(replica: RedisProcess, master: RedisProcess): Promise<void> {
    await until(
      async () => {
        const info = await replica.info('replication');
        const view = await this.view(master);
        const line = view.find(({ port }) => port === replica.port);
        return info['master_link_status'] === 'up' && line?.masterId === this.idOf(master);
      },
      { within: 15_000, what: `${replica.address} follows ${master.address}` },
    );
  }
}
