import { ErrorReply, type Command, type Reply } from '../lib/store/redis/resp.js';
import type { ServerSide, SimServer } from './server.js';
import { SimHost, type SimWorld } from './world.js';

/** One Sentinel: the master that the Sentinel names, and the clients. */
export class SimSentinel extends SimHost {
  master: SimServer;
  epoch = 0;
  private readonly clients = new Map<number, ServerSide>();

  constructor(
    world: SimWorld,
    name: string,
    readonly servers: readonly SimServer[],
  ) {
    super(world, name);
    this.master = servers[0]!;
  }

  learn(master: SimServer, epoch: number): void {
    if (epoch <= this.epoch) return;
    this.master = master;
    this.epoch = epoch;
    for (const side of this.clients.values()) side.push('+switch-master', 'mymaster');
  }

  connect(side: ServerSide): void {
    this.clients.set(side.id, side);
  }

  disconnect(id: number): void {
    this.clients.delete(id);
  }

  receive(id: number, commands: readonly Command[]): void {
    for (const command of commands) this.clients.get(id)?.reply(this.answer(command));
  }

  private answer([name, what]: Command): Reply {
    const [ip = '', port = ''] = this.master.address.split(':');
    if (name === 'subscribe') return 'OK';
    if (name !== 'sentinel') return new ErrorReply(`ERR unknown command '${name}'`);
    if (what === 'get-master-addr-by-name') return [ip, port];
    const record = (server: SimServer): Reply => {
      const [host = '', number = ''] = server.address.split(':');
      return ['ip', host, 'port', number, 'config-epoch', String(this.epoch)];
    };
    if (what === 'master') return record(this.master);
    return this.servers.filter((server) => server !== this.master).map(record);
  }
}

/**
 * A server that follows no master or the wrong one is corrected after this many checks at the
 * latest. There is a check every 100 ms.
 */
const LOOKS_AT_STRAY = 30;

/**
 * All Sentinels together: when they declare the master dead, and in which order they move the
 * replicas.
 */
export class SimSentinels {
  private epoch = 0;
  private isFailingOver = false;
  /** How often in a row each server was seen following no master or the wrong one. */
  private readonly strays = new Map<SimServer, number>();

  constructor(
    private readonly world: SimWorld,
    readonly sentinels: readonly SimSentinel[],
    private readonly servers: readonly SimServer[],
    private readonly reach: (a: SimHost, b: SimHost) => boolean,
    private readonly downAfter: number,
  ) {}

  get master(): SimServer {
    return this.sentinels.reduce((best, each) => (each.epoch > best.epoch ? each : best)).master;
  }

  /** Checks the master every 100 ms, and replaces a master that was away for `downAfter` ms. */
  watch(downSince?: number): void {
    const { master, world } = this;
    const heard = this.sentinels.filter(
      (sentinel) => sentinel.state === 'running' && this.reach(sentinel, master),
    );
    const isUp = master.state === 'running' && master.role === 'master' && heard.length >= 2;
    const since = isUp ? undefined : (downSince ?? world.now);
    if (since !== undefined && world.now - since >= this.downAfter) this.failOver();
    this.demoteStrays();
    world.happen(100, this.sentinels[0]!, () => this.watch(since));
  }

  /** Fails over, even if the master is alive: after a false alarm or by command. */
  failOver(): void {
    const { master: old, world } = this;
    if (this.isFailingOver) return;
    const candidates = this.servers.filter(
      (server) =>
        server !== old &&
        server.state === 'running' &&
        server.role === 'slave' &&
        this.reach(this.sentinels[0]!, server),
    );
    if (candidates.length === 0) return;
    this.isFailingOver = true;
    const { dice } = world;
    // Sentinels compare the offsets of the last INFO, which may be old: any replica can be chosen.
    const chosen = dice.chance(0.6)
      ? candidates.reduce((best, each) => (each.offset > best.offset ? each : best))
      : dice.pick(candidates);
    const epoch = ++this.epoch;
    world.happen(dice.between(20, 300), this.sentinels[0]!, () => {
      if (chosen.state !== 'running') {
        this.isFailingOver = false;
        return;
      }
      chosen.promote();
      this.announce(old, chosen, epoch);
    });
  }

  /** Fails over by FAILOVER on the master, so that the successor has all data. */
  handOver(): void {
    const { master: old, world } = this;
    const chosen = world.dice.pick(this.servers.filter((server) => server.master === old));
    if (this.isFailingOver || chosen === undefined || old.state !== 'running') return;
    this.isFailingOver = true;
    old.handOver(chosen, world.dice.between(100, 1_500), (isDone) => {
      if (isDone) this.announce(old, chosen, ++this.epoch);
      else this.isFailingOver = false;
    });
    // A master that dies in the middle never reports the end.
    world.happen(3_000, this.sentinels[0]!, () => (this.isFailingOver = false));
  }

  /**
   * Makes the new master known, and moves the other replicas to it one by one. Until then they
   * confirm to the old master.
   */
  private announce(old: SimServer, chosen: SimServer, epoch: number): void {
    const { world } = this;
    const { dice } = world;
    for (const [i, sentinel] of this.sentinels.entries()) {
      world.happen(i === 0 ? 1 : dice.between(1, 900), sentinel, () => this.teach(sentinel, chosen, epoch));
    }
    for (const server of this.servers) {
      if (server === chosen || server === old) continue;
      world.happen(dice.between(1, 1_000), server, () => server.role === 'slave' && server.follow(chosen));
    }
    world.happen(1_100, this.sentinels[0]!, () => (this.isFailingOver = false));
  }

  /**
   * Tells one Sentinel of the new master. A Sentinel that is cut off names the old master until
   * then.
   */
  private teach(sentinel: SimSentinel, master: SimServer, epoch: number): void {
    if (this.reach(this.sentinels[0]!, sentinel)) sentinel.learn(master, epoch);
    else this.world.happen(200, sentinel, () => this.teach(sentinel, master, epoch));
  }

  /**
   * Corrects a former master that runs again, and a replica that follows the wrong master: within 3
   * s.
   */
  private demoteStrays(): void {
    const { master, world } = this;
    if (this.isFailingOver) return;
    for (const server of this.servers) {
      const isReached = server.state === 'running' && this.reach(this.sentinels[0]!, server);
      const isStray = server !== master && (server.role === 'master' || server.master !== master);
      const looks = isReached && isStray ? (this.strays.get(server) ?? 0) + 1 : 0;
      this.strays.set(server, looks);
      if (looks > 0 && (world.dice.chance(0.1) || looks >= LOOKS_AT_STRAY)) server.follow(master);
    }
  }
}
