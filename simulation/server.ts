import { ErrorReply, type Command, type Reply } from '../lib/store/redis/resp.js';
import { ClientPause, type Unblocking } from './client-pause.js';
import { OutOfMemory, SimData } from './data.js';
import type { Link, ReplicationStyle, SimReplica } from './replication.js';
import { scriptCalledBy, scriptsBySha, scriptsByText } from './scripts.js';
import type { SimWorld } from './world.js';

/** A client's connection as the server sees the connection. */
export interface ServerSide {
  readonly id: number;
  /** The client has subscribed to a channel, so the server never closes the connection as idle. */
  isSubscribed: boolean;
  reply(value: Reply): void;
  push(channel: string, payload: unknown): void;
  /** The server ends the connection. */
  end(): void;
}

/** What clients of a server should never cause. */
export interface ServerListener {
  /** By a CLIENT UNBLOCK of a paused client. */
  crashedByClient(): void;
  /** A CLIENT UNBLOCK hit a paused script. */
  scriptUnblocked(): void;
  /** A client was silent for too long. */
  idleClientClosed(): void;
}

interface Client {
  readonly side: ServerSide;
  /** Commands that have arrived and have not been executed. */
  readonly inbox: Command[];
  wait: { need: number; offset: number; cancel: () => void } | undefined;
  /** The command that CLIENT PAUSE keeps from being executed. */
  postponed: Command | undefined;
  /** The offset after the client's last command. */
  offset: number;
  lastHeardAt: number;
}

/** ms of a tick of Redis' clock. WAIT timeouts are rounded up to ticks. */
const TICK = 100;
/** ms between two checks for idle clients and for the end of a hand-over. */
const CRON_TIME = 100;

const UNBLOCKED = 'UNBLOCKED client unblocked via CLIENT UNBLOCK';

/** What may differ between servers. */
export interface ServerStyle extends ReplicationStyle {
  /** What CLIENT UNBLOCK ERROR does to a paused command. */
  readonly unblocking: Unblocking;
  /** ms after which a silent client is closed. Infinity: never. */
  readonly idleTimeout: number;
}

/** A Redis server, as far as locks can observe it. */
export class SimServer extends SimData {
  /** Keys that the user may not touch. */
  readonly forbidden = new Set<string>();
  listener: ServerListener = { crashedByClient() {}, scriptUnblocked() {}, idleClientClosed() {} };
  private readonly clients = new Map<number, Client>();
  private readonly knownScripts = new Set<string>();
  private readonly pause = new ClientPause();
  private readonly postponed = new Set<Client>();

  constructor(
    world: SimWorld,
    name: string,
    address: string,
    wallOffset: number,
    reach: (to: SimReplica) => boolean,
    override readonly style: ServerStyle,
  ) {
    super(world, name, address, wallOffset, reach, style);
    this.beginCron();
  }

  /** Starts what the server does by itself while this run lives. */
  private beginCron(): void {
    const { runId } = this;
    const every = (ms: number, act: () => void): void => {
      this.after(ms, () => {
        if (this.runId !== runId) return;
        act();
        every(ms, act);
      });
    };
    every(1_000, () => this.acknowledge());
    if (this.style.idleTimeout !== Infinity) every(CRON_TIME, () => this.closeIdleClients());
  }

  override crash(): void {
    for (const client of this.clients.values()) {
      client.wait?.cancel();
      client.side.end();
    }
    super.crash();
  }

  override restart(withSnapshot = false): void {
    this.clients.clear();
    this.knownScripts.clear();
    this.pause.end();
    this.postponed.clear();
    super.restart(withSnapshot);
    this.beginCron();
  }

  protected override onAcknowledged(): void {
    for (const client of this.clients.values()) this.checkWait(client);
  }

  protected override onDemoted(): void {
    for (const client of this.clients.values())
      this.endWait(client, new ErrorReply('UNBLOCKED force unblock from blocking operation'));
  }

  protected override onInvalidated(reader: number, key: string): void {
    this.clients.get(reader)?.side.push('__redis__:invalidate', key);
  }

  get description(): string {
    const links = [...this.links.values()].map(
      ({ replica, isOnline }) => `${replica.name}${isOnline ? '' : ' (not yet)'}`,
    );
    return `${this.state} ${this.role} of ${this.master?.name ?? links.join(' ')}, ${this.clients.size} clients`;
  }

  // --- for operators

  /** CLIENT PAUSE by another client. */
  pauseClients(ms: number, kind: 'WRITE' | 'ALL'): void {
    if (this.state !== 'running') return;
    this.world.tell(this.name, `CLIENT PAUSE ${ms.toFixed(0)} ${kind}`);
    this.pause.begin(this.world.now, this.world.now + ms, kind === 'ALL');
    this.world.happen(ms + this.world.dice.between(0, TICK), this, () => this.endPause());
  }

  /**
   * FAILOVER TO: pauses writes until the replica has everything, then swaps the roles. `done` says
   * whether that happened within `ms`.
   */
  handOver(to: SimServer, ms: number, done: (isDone: boolean) => void): void {
    this.world.tell(this.name, `FAILOVER TO ${to.name}`);
    const { runId } = this;
    const end = this.world.now + ms;
    this.pause.begin(this.world.now, end, false);
    const look = (): void => {
      if (this.runId !== runId || this.role !== 'master') return;
      const link = this.links.get(to);
      const hasAll = link?.isOnline === true && link.acknowledged >= this.offset && to.state === 'running';
      if (!hasAll && this.world.now < end) {
        this.askReplicas();
        this.world.happen(CRON_TIME, this, look);
        return;
      }
      if (hasAll) {
        to.promote();
        this.follow(to);
      }
      this.pause.end();
      this.endPause();
      done(hasAll);
    };
    look();
  }

  /** SCRIPT FLUSH. */
  forgetScripts(): void {
    this.world.tell(this.name, 'SCRIPT FLUSH');
    this.knownScripts.clear();
  }

  // --- for clients

  connect(side: ServerSide): void {
    this.clients.set(side.id, {
      side,
      inbox: [],
      wait: undefined,
      postponed: undefined,
      offset: 0,
      lastHeardAt: this.world.now,
    });
  }

  /**
   * The client has gone. Commands that arrived before have been executed, or are lost if the server
   * had closed the connection before.
   */
  disconnect(id: number): void {
    const client = this.clients.get(id);
    if (client === undefined) return;
    client.wait?.cancel();
    this.postponed.delete(client);
    this.clients.delete(id);
  }

  receive(id: number, commands: readonly Command[]): void {
    const client = this.clients.get(id);
    if (client === undefined) return;
    client.lastHeardAt = this.world.now;
    client.inbox.push(...commands);
    this.execute(client);
  }

  private execute(client: Client): void {
    while (
      client.wait === undefined &&
      client.postponed === undefined &&
      this.clients.get(client.side.id) === client
    ) {
      const command = client.inbox.shift();
      if (command === undefined) return;
      if (this.pause.stops(this.world.now, command[0])) {
        client.postponed = command;
        this.postponed.add(client);
        return;
      }
      this.run(client, command);
    }
  }

  private run(client: Client, command: Command): void {
    const reply = this.answer(client, command);
    this.propagate();
    if (reply !== undefined) client.side.reply(reply);
  }

  private endPause(): void {
    if (!this.pause.isOver(this.world.now)) return;
    const paused = [...this.postponed].map((client) => ({ client, command: client.postponed }));
    // All clients are unblocked before the first command runs.
    this.postponed.clear();
    for (const { client } of paused) client.postponed = undefined;
    for (const { client, command } of paused) {
      if (this.clients.get(client.side.id) !== client) continue;
      if (command !== undefined) this.run(client, command);
      this.execute(client);
    }
  }

  private closeIdleClients(): void {
    const { idleTimeout } = this.style;
    for (const [id, client] of this.clients) {
      const isBlocked = client.wait !== undefined || client.postponed !== undefined;
      if (isBlocked || client.side.isSubscribed || this.world.now - client.lastHeardAt < idleTimeout)
        continue;
      this.clients.delete(id);
      client.side.end();
      this.listener.idleClientClosed();
    }
  }

  /** Undefined if the answer comes later. */
  private answer(client: Client, command: Command): Reply | undefined {
    const [name, ...rest] = command;
    const args = rest.map(String);
    switch (name) {
      case 'client':
        return this.answerClient(client, args);
      case 'info':
        return this.info(args[0] ?? '');
      case 'get':
        return this.find(args[0]!)?.value ?? null;
      case 'pttl':
        return this.pttl(args[0]!);
      case 'ping':
        return 'PONG';
      case 'subscribe':
        return 'OK';
      case 'eval':
      case 'evalsha':
        return this.runScript(client, command, args);
      case 'wait':
        return this.wait(client, Number(args[0]), Number(args[1]));
      default:
        return new ErrorReply(`ERR unknown command '${name}'`);
    }
  }

  private runScript(client: Client, command: Command, [text = '', count, ...rest]: string[]): Reply {
    const [name] = command;
    const script = (name === 'eval' ? scriptsByText : scriptsBySha).get(text);
    const known = scriptCalledBy(command) ?? '';
    if (script === undefined || (name === 'evalsha' && !this.knownScripts.has(known)))
      return new ErrorReply('NOSCRIPT No matching script. Please use EVAL.');
    const keys = rest.slice(0, Number(count));
    if (keys.some((key) => this.forbidden.has(key)))
      return new ErrorReply(
        'NOPERM this user has no permissions to access one of the keys used as arguments',
      );
    this.knownScripts.add(known);
    if (this.role !== 'master')
      return new ErrorReply("READONLY You can't write against a read only replica.");
    let reply: Reply;
    try {
      reply = script(this.view(client.side.id), keys, rest.slice(Number(count)));
    } catch (error) {
      if (!(error instanceof OutOfMemory)) throw error;
      reply = new ErrorReply("OOM command not allowed when used memory > 'maxmemory'.");
    }
    client.offset = this.offset + this.writes.length;
    if (known === 'acquire' || known === 'acquirePermit') this.noteWritten();
    return reply;
  }

  private answerClient(client: Client, [what, ...args]: string[]): Reply | undefined {
    switch (what) {
      case 'id':
        return client.side.id;
      case 'list':
        return this.listedLinks.map((link) => this.clientLines(link)).join('');
      case 'kill': {
        const id = Number(args[1]);
        const victim = this.clients.get(id);
        this.disconnect(id);
        victim?.side.end();
        return victim === undefined ? 0 : 1;
      }
      case 'unblock':
        return this.unblock(this.clients.get(Number(args[0])), args[1]?.toLowerCase() === 'error');
      case 'tracking':
        this.redirects.set(client.side.id, Number(args[2]));
        return 'OK';
      default:
        return new ErrorReply(`ERR unknown subcommand '${what}'`);
    }
  }

  private clientLines({ id, madeAt, hasAcknowledged, rdbChannel }: Link): string {
    const command = hasAcknowledged ? 'replconf' : 'psync';
    const line = (client: number, flags: string): string =>
      `id=${client} addr=x:1 age=${Math.floor((this.world.now - madeAt) / 1000)} idle=0 flags=${flags} cmd=${command}\n`;
    return line(id, 'S') + (rdbChannel === undefined ? '' : line(rdbChannel, 'SC'));
  }

  private unblock(target: Client | undefined, withError: boolean): Reply | undefined {
    if (target?.wait !== undefined) {
      this.endWait(target, withError ? new ErrorReply(UNBLOCKED) : this.confirmed(target.wait.offset));
      return 1;
    }
    const { unblocking } = this.style;
    if (target?.postponed === undefined || unblocking === 'nothing') return 0;
    if (!withError) {
      // "Unknown btype in replyToBlockedClientTimedOut(). This is a bug in Redis."
      this.listener.crashedByClient();
      this.crash();
      return undefined;
    }
    if (target.postponed[0] === 'eval' || target.postponed[0] === 'evalsha') this.listener.scriptUnblocked();
    target.side.reply(new ErrorReply(UNBLOCKED));
    if (unblocking === 'drops') {
      target.postponed = undefined;
      this.postponed.delete(target);
      this.execute(target);
    }
    return 1;
  }

  private info(section: string): string {
    if (section === 'server') return `# Server\r\nrun_id:${this.runId}\r\n`;
    if (section === 'memory') return '# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n';
    const links = this.listedLinks.map(({ replica, isOnline, acknowledged, heardAt }, i) => {
      const [ip, port] = replica.address.split(':');
      const state = isOnline ? 'online' : 'wait_bgsave';
      const lag = Math.floor((this.world.now - heardAt) / 1000);
      return `slave${i}:ip=${ip},port=${port},state=${state},offset=${acknowledged},lag=${lag}\r\n`;
    });
    return `# Replication\r\nrole:${this.role}\r\n${links.join('')}master_replid:${this.replid}\r\nmaster_repl_offset:${this.offset}\r\n`;
  }

  // --- WAIT

  private wait(client: Client, need: number, timeout: number): Reply | undefined {
    if (this.role !== 'master') return new ErrorReply('ERR WAIT cannot be used with replica instances.');
    const { offset } = client;
    if (this.confirmed(offset) >= need) return this.confirmed(offset);
    const cancel = this.world.happen(Math.ceil(timeout / TICK) * TICK, this, () =>
      this.endWait(client, this.confirmed(offset)),
    );
    client.wait = { need, offset, cancel };
    this.askReplicas();
    return undefined;
  }

  private checkWait(client: Client): void {
    if (client.wait !== undefined && this.confirmed(client.wait.offset) >= client.wait.need) {
      this.endWait(client, this.confirmed(client.wait.offset));
    }
  }

  private endWait(client: Client, reply: Reply): void {
    if (client.wait === undefined) return;
    client.wait.cancel();
    client.wait = undefined;
    client.side.reply(reply);
    this.execute(client);
  }
}
