import { hashSlot, hasSlot } from '../lib/store/redis/cluster/hash-slot.js';
import type { Setup } from './deployment.js';
import { KINDS, now } from './events.js';
import type { Hosts } from './hosts.js';
import { Server } from './server.js';
import { until } from './until.js';

const SHARDS = 3;
const REPLICAS = 2;
const SLOTS = 16_384;
const SLOTS_A_CALL = 1_000;

interface NodeLine {
  readonly id: string;
  readonly ip: string;
  readonly flags: readonly string[];
  readonly epoch: number;
  readonly slots: readonly (readonly [number, number])[];
}

/** The slots of one of the workers' keys, for each kind of lock. */
function slotsOfKey(index: number): number[] {
  return KINDS.map((kind) => hashSlot(`${kind === 'replica' ? 'lock' : kind}:k${index}`));
}
const KEYS = Array.from({ length: 30 }, (_, i) => i);
/** The same for all keys. */
export const KEY_SLOTS: readonly number[] = [...new Set(KEYS.flatMap(slotsOfKey))];

/**
 * A Redis Cluster of three masters with two replicas each, every server on a host of its own.
 *
 * Servers stay in their shard. The last shard has only the slots of a third of the keys, so that it
 * can give all slots away within a second.
 */
export class ClusterDeployment implements Setup {
  private readonly ids = new Map<Server, string>();

  private constructor(
    readonly servers: readonly Server[],
    readonly nodeTimeout: number,
  ) {}

  static async start(hosts: Hosts, nodeTimeout: number): Promise<ClusterDeployment> {
    const servers: Server[] = [];
    for (let i = 0; i < SHARDS * (1 + REPLICAS); i++) {
      const host = await hosts.add(`r${i}`);
      servers.push(
        Server.data(host, {
          'cluster-enabled': 'yes',
          'cluster-announce-ip': host.ip,
          'cluster-node-timeout': nodeTimeout,
          'cluster-require-full-coverage': 'no',
          'cluster-allow-replica-migration': 'no',
          'cluster-replica-validity-factor': 0,
        }),
      );
    }
    const deployment = new ClusterDeployment(servers, nodeTimeout);
    for (const server of servers) server.start();
    await until('servers answer', async () =>
      (await Promise.all(servers.map((server) => server.call('ping')))).every((pong) => pong === 'PONG'),
    );
    await deployment.form();
    await deployment.untilHealthy();
    return deployment;
  }

  get programs(): readonly Server[] {
    return this.servers;
  }

  get connection(): { nodes: { host: string; port: number }[] } {
    return { nodes: this.servers.map(({ host, port }) => ({ host: host.ip, port })) };
  }

  idOf(server: Server): string {
    return this.ids.get(server) ?? '';
  }

  /** The servers of one shard, whichever of them is the master. */
  shard(index: number): readonly Server[] {
    return this.servers.filter((_, i) => i % SHARDS === index);
  }

  shardOf(server: Server): readonly Server[] {
    return this.shard(this.servers.indexOf(server) % SHARDS);
  }

  /** The server of a shard that serves slots with the greatest epoch, by all views. */
  async masterOf(shard: readonly Server[]): Promise<Server> {
    const lines = (await this.views()).flat();
    let best: { server: Server; epoch: number } | undefined;
    for (const { ip, slots, epoch } of lines) {
      const server = shard.find(({ host }) => host.ip === ip);
      if (server !== undefined && slots.length > 0 && epoch > (best?.epoch ?? -1)) best = { server, epoch };
    }
    return best?.server ?? shard[0]!;
  }

  async masters(): Promise<Server[]> {
    return Promise.all(Array.from({ length: SHARDS }, (_, i) => this.masterOf(this.shard(i))));
  }

  /** The server that serves the slot, by the greatest epoch. */
  async ownerOf(slot: number): Promise<Server> {
    let best: NodeLine | undefined;
    for (const line of (await this.views()).flat()) {
      if (hasSlot(line.slots, slot) && line.epoch > (best?.epoch ?? -1)) best = line;
    }
    return this.servers.find(({ host }) => host.ip === best?.ip) ?? this.servers[0]!;
  }

  async beginMove(slot: number, from: Server, to: Server): Promise<void> {
    await to.call('cluster', 'setslot', slot, 'importing', this.idOf(from));
    await from.call('cluster', 'setslot', slot, 'migrating', this.idOf(to));
  }

  async moveKeys(slot: number, from: Server, to: Server): Promise<void> {
    for (let round = 0; round < 20; round++) {
      const keys = (await from.call('cluster', 'getkeysinslot', slot, 50)).split('\n').filter(Boolean);
      if (keys.length === 0) return;
      await from.call('migrate', to.host.ip, to.port, '', 0, 1_000, 'replace', 'keys', ...keys);
    }
  }

  async endMove(slot: number, to: Server): Promise<void> {
    await to.call('cluster', 'setslot', slot, 'node', this.idOf(to));
    for (const server of await this.masters())
      if (server !== to) await server.call('cluster', 'setslot', slot, 'node', this.idOf(to));
  }

  /** Moves a slot with all keys, without a pause. */
  async move(slot: number, to: Server): Promise<void> {
    const from = await this.ownerOf(slot);
    if (from === to) return;
    await this.beginMove(slot, from, to);
    await this.moveKeys(slot, from, to);
    await this.endMove(slot, to);
  }

  /** The shard that can give all slots away. */
  get smallShard(): readonly Server[] {
    return this.shard(SHARDS - 1);
  }

  /** The slots that the server itself claims. */
  async slotsOf(server: Server): Promise<number[]> {
    const line = nodeLines(await server.call('cluster', 'nodes')).find(({ flags }) =>
      flags.includes('myself'),
    );
    return (line?.slots ?? []).flatMap(([from, to]) =>
      Array.from({ length: to - from + 1 }, (_, i) => from + i),
    );
  }

  /** Moves slots without their keys, all at once: the giving master has lost these keys. */
  async give(slots: readonly number[], from: Server, to: Server): Promise<void> {
    await Promise.all(
      slots.map(async (slot) => {
        await to.call('cluster', 'setslot', slot, 'node', this.idOf(to));
        await from.call('cluster', 'setslot', slot, 'node', this.idOf(to));
      }),
    );
  }

  /** Makes a replica a master of its own, without slots. */
  async detach(replica: Server): Promise<void> {
    const other = this.servers.find((server) => server !== replica && server.isRunning && !server.isFrozen)!;
    await replica.call('cluster', 'reset', 'soft');
    await replica.call('cluster', 'meet', other.host.ip, other.port);
    await until('all know that it is a master', async () =>
      (await this.views()).every((view) =>
        view.some(({ ip, flags }) => ip === replica.host.ip && flags.includes('master')),
      ),
    );
  }

  /** Makes a master without slots a replica. */
  async attach(server: Server, master: Server): Promise<void> {
    await server.call('flushall');
    await server.call('cluster', 'replicate', this.idOf(master));
  }

  /**
   * Waits until everything runs, all views agree, all replicas follow, and no slot is being moved.
   */
  async untilHealthy(): Promise<void> {
    for (const server of this.servers) {
      if (server.isFrozen) server.thaw();
      if (!server.isRunning) server.start();
    }
    let mendAt = now() + 10_000;
    await until(
      'the cluster is whole again',
      async () => {
        if (now() > mendAt) {
          mendAt = now() + 5_000;
          await this.mend();
        }
        const states = await Promise.all(this.servers.map((server) => server.call('cluster', 'info')));
        if (!states.every((state) => state.includes('cluster_state:ok'))) return false;
        const masters = await this.masters();
        const views = await this.views();
        const agree = views.every((view) =>
          view.every(({ ip, flags, slots }) => {
            const isMaster = masters.some(({ host }) => host.ip === ip);
            return (
              flags.includes('master') === isMaster &&
              slots.length > 0 === isMaster &&
              !flags.includes('fail')
            );
          }),
        );
        if (!agree || views.length < this.servers.length) return false;
        const infos = await Promise.all(this.servers.map((server) => server.info()));
        return this.servers.every((server, i) =>
          masters.includes(server)
            ? [...infos[i]!.values()].filter((value) => value.includes('state=online')).length >= REPLICAS
            : infos[i]!.get('master_link_status') === 'up',
        );
      },
      60_000,
    );
  }

  /**
   * Mends a shard with two masters after a fail-over, as an operator does. The successor had not
   * heard of the last slots that the master was given, so the old master kept them. These slots go
   * to the successor, and the emptied master becomes a replica.
   */
  private async mend(): Promise<void> {
    for (let i = 0; i < SHARDS; i++) {
      const master = await this.masterOf(this.shard(i));
      const view = nodeLines(await master.call('cluster', 'nodes'));
      for (const server of this.shard(i)) {
        const line = view.find(({ ip }) => ip === server.host.ip);
        if (server === master || line?.flags.includes('master') !== true) continue;
        for (const [from, to] of line.slots)
          for (let slot = from; slot <= to; slot++) await this.move(slot, master);
        await this.attach(server, master);
      }
    }
  }

  async dispose(): Promise<void> {
    for (const server of this.servers) {
      await server.kill();
      server.removeFolder();
    }
  }

  private async form(): Promise<void> {
    const [first, ...others] = this.servers as [Server, ...Server[]];
    for (const [i, server] of this.servers.entries()) {
      this.ids.set(server, await server.call('cluster', 'myid'));
      await server.call('cluster', 'set-config-epoch', i + 1);
    }
    for (const server of others) await server.call('cluster', 'meet', first.host.ip, first.port);
    await until('servers know each other', async () => {
      const views = await this.views();
      return views.every(
        (view) =>
          view.length === this.servers.length && view.every(({ flags }) => !flags.includes('handshake')),
      );
    });
    const small = new Set(KEYS.filter((key) => key % SHARDS === SHARDS - 1).flatMap(slotsOfKey));
    const all = Array.from({ length: SLOTS }, (_, slot) => slot);
    const large = all.filter((slot) => !small.has(slot));
    const half = Math.ceil(large.length / 2);
    const shares = [large.slice(0, half), large.slice(half), [...small]];
    for (const [i, slots] of shares.entries())
      for (let at = 0; at < slots.length; at += SLOTS_A_CALL)
        await this.servers[i]!.call('cluster', 'addslots', ...slots.slice(at, at + SLOTS_A_CALL));
    for (const [i, server] of this.servers.entries())
      if (i >= SHARDS) await server.call('cluster', 'replicate', this.idOf(this.servers[i % SHARDS]!));
  }

  /** Each answering server's view of all servers. */
  private async views(): Promise<NodeLine[][]> {
    const texts = await Promise.all(
      this.servers
        .filter((server) => server.isRunning && !server.isFrozen)
        .map((server) => server.call('cluster', 'nodes')),
    );
    return texts.filter((text) => text.includes('myself')).map(nodeLines);
  }
}

function nodeLines(text: string): NodeLine[] {
  return text.split('\n').map(nodeLine);
}

function nodeLine(line: string): NodeLine {
  const [id = '', address = '', flags = '', , , , epoch, , ...ranges] = line.trim().split(' ');
  return {
    id,
    ip: address.slice(0, address.lastIndexOf(':')),
    flags: flags.split(','),
    epoch: Number(epoch),
    slots: ranges
      .filter((range) => !range.startsWith('['))
      .map((range) => {
        const [from, to = from] = range.split('-').map(Number);
        return [from!, to!] as const;
      }),
  };
}
