import { ErrorReply, type Command, type Reply } from '../lib/store/redis/connection.js';
import { scriptsBySha, scriptsByText, type Data } from './scripts.js';
import { SimHost, type SimWorld } from './world.js';

/** A client's connection as the server sees it. */
export interface ServerSide {
  readonly id: number;
  reply(value: Reply): void;
  push(channel: string, payload: unknown): void;
  /** The server ends it. */
  end(): void;
}

interface Client {
  readonly side: ServerSide;
  /** What has arrived and was not executed. */
  readonly inbox: Command[];
  wait: { need: number; offset: number; cancel: () => void } | undefined;
  /** The offset that its last command left behind. */
  offset: number;
}

interface Entry {
  readonly value: string;
  /** By the wall clock of whoever asks. */
  readonly expiresAt: number;
}

/** One replica as its master sees it. */
interface Link {
  readonly id: number;
  readonly replica: SimServer;
  readonly madeAt: number;
  isOnline: boolean;
  acknowledged: number;
  /** When the last bytes of the stream arrive: it keeps its order. */
  arrivesAt: number;
}

/** ms of Redis' clock tick: timeouts of WAIT are rounded up to it. */
const TICK = 100;

/** ms that replication needs at the most while all is well. */
export const CALM_LAG = 2;

let ids = 0;

/** A Redis server, as far as locks can see it. */
export class SimServer extends SimHost {
  runId = '';
  replid = '';
  offset = 0;
  /** The history that it shared until it was promoted at this offset. */
  private formerHistory: { replid: string; until: number } | undefined;
  role: 'master' | 'slave' = 'master';
  master: SimServer | undefined;
  data = new Map<string, Entry>();
  readonly links = new Map<SimServer, Link>();
  /** A replica's former link, which its master does not know to be dead: listed beside the new one. */
  private readonly deadLinks = new Map<SimServer, Link>();
  private readonly clients = new Map<number, Client>();
  private readonly tracked = new Map<string, Set<number>>();
  private readonly redirects = new Map<number, number>();
  private writes: { key: string; entry: Entry }[] = [];
  private snapshot = new Map<string, Entry>();
  /** Connections of an earlier run mean nothing to this one. */
  private generation = 0;

  constructor(
    world: SimWorld,
    name: string,
    readonly address: string,
    wallOffset: number,
    private readonly reach: (to: SimServer) => boolean,
    /** ms that the stream and its acknowledgements need at the most. */
    public lag = CALM_LAG,
  ) {
    super(world, name, 1, wallOffset);
    this.begin();
  }

  // --- life

  private begin(): void {
    this.generation++;
    this.runId = `run${++ids}`;
    this.replid = `repl${++ids}`;
    this.clients.clear();
    this.formerHistory = undefined;
    this.links.clear();
    this.deadLinks.clear();
    this.tracked.clear();
    this.redirects.clear();
  }

  crash(): void {
    this.world.tell(this.name, 'crashes');
    for (const client of this.clients.values()) {
      client.wait?.cancel();
      client.side.end();
    }
    for (const replica of this.links.keys()) {
      this.world.happen(5, replica, () => replica.master === this && replica.resync());
    }
    this.master?.links.delete(this);
    this.die();
    this.generation++;
  }

  /** A new run, with nothing or with what `save` kept. */
  restart(withSnapshot = false): void {
    this.world.tell(this.name, withSnapshot ? 'restarts from its file' : 'restarts empty');
    this.state = 'running';
    this.data = withSnapshot ? new Map(this.snapshot) : new Map();
    this.offset = withSnapshot ? this.offset : 0;
    this.begin();
    if (this.role === 'slave' && this.master !== undefined) this.follow(this.master);
  }

  save(): void {
    this.snapshot = new Map(this.data);
  }

  promote(): void {
    this.world.tell(this.name, `is promoted at offset ${this.offset}`);
    this.master?.links.delete(this);
    this.master = undefined;
    this.role = 'master';
    this.formerHistory = { replid: this.replid, until: this.offset };
    this.replid = `repl${++ids}`;
  }

  /** REPLICAOF: from now on it takes over that master's data; a master's blocked clients are turned away. */
  follow(master: SimServer): void {
    this.master?.links.delete(this);
    this.role = 'slave';
    this.master = master;
    for (const client of this.clients.values())
      this.endWait(client, new ErrorReply('UNBLOCKED force unblock from blocking operation'));
    for (const replica of this.links.keys())
      this.world.happen(5, replica, () => replica.master === this && replica.resync());
    this.links.clear();
    this.resync();
  }

  /** Links to its master anew, with a copy of all its data; tries again while that cannot be had. */
  private resync(): void {
    const { master, generation } = this;
    if (master === undefined) return;
    const before = master.links.get(this);
    if (before?.isOnline === true && this.world.dice.chance(0.5)) {
      master.deadLinks.set(this, before);
      this.world.happen(this.world.dice.between(500, 4_000), master, () => master.deadLinks.delete(this));
    }
    master.links.delete(this);
    const again = (): void => {
      if (this.master === master && this.generation === generation) this.resync();
    };
    if (master.state !== 'running' || master.role !== 'master' || !this.reach(master)) {
      this.world.happen(200, this, again);
      return;
    }
    const link: Link = {
      id: ++ids,
      replica: this,
      madeAt: this.world.now,
      isOnline: false,
      acknowledged: 0,
      arrivesAt: 0,
    };
    master.links.set(this, link);
    // A partial resynchronisation brings what a full one brings, for its history is a part of the master's; only sooner.
    const time = master.knowsHistoryOf(this)
      ? this.world.dice.between(0.2, 3)
      : this.world.dice.between(2, 120);
    this.world.happen(time, master, () => {
      // Another link has taken its place.
      if (master.links.get(this) !== link) return;
      link.isOnline = true;
      const { replid, offset } = master;
      const copy = new Map(master.data);
      this.transfer(link, master, () => {
        this.data = copy;
        this.offset = offset;
        this.replid = replid;
        this.acknowledge(link, master);
      });
    });
  }

  private knowsHistoryOf({ replid, offset }: SimServer): boolean {
    const { formerHistory } = this;
    return replid === this.replid || (replid === formerHistory?.replid && offset <= formerHistory.until);
  }

  /** Links made long before the simulation begins. */
  static linkForLong(master: SimServer, replicas: readonly SimServer[]): void {
    for (const replica of replicas) {
      replica.role = 'slave';
      replica.master = master;
      replica.replid = master.replid;
      master.links.set(replica, {
        id: ++ids,
        replica,
        madeAt: -120_000,
        isOnline: true,
        acknowledged: 0,
        arrivesAt: 0,
      });
    }
  }

  // --- replication

  /** Something of the stream on its way to a replica: in order, and only while the link stands. */
  private transfer(link: Link, master: SimServer, arrive: () => void): void {
    const deliver = (): void => {
      if (master.links.get(link.replica) !== link) return;
      if (!link.replica.reach(master)) this.world.happen(50, link.replica, deliver);
      else arrive();
    };
    link.arrivesAt =
      Math.max(link.arrivesAt, this.world.now + this.world.dice.between(0.1, this.lag)) + 0.001;
    this.world.happen(link.arrivesAt - this.world.now, link.replica, deliver);
  }

  private acknowledge(link: Link, master: SimServer): void {
    const { offset } = this;
    this.world.happen(this.world.dice.between(0.1, this.lag), master, () => {
      if (master.links.get(this) !== link || !this.reach(master)) return;
      link.acknowledged = Math.max(link.acknowledged, offset);
      // What the dead link's socket still held is read, too: both lines say the same.
      const dead = master.deadLinks.get(this);
      if (dead !== undefined) dead.acknowledged = link.acknowledged;
      for (const client of master.clients.values()) master.checkWait(client);
    });
  }

  private propagate(): void {
    const writes = this.writes.splice(0);
    if (writes.length === 0) return;
    this.offset += writes.length;
    const { offset } = this;
    for (const link of this.links.values()) {
      if (!link.isOnline) continue;
      this.transfer(link, this, () => {
        for (const { key, entry } of writes) link.replica.data.set(key, entry);
        link.replica.offset = offset;
      });
    }
  }

  /** Acknowledgements that nobody asked for, as replicas send them once a second. */
  acknowledgeEverySecond(): void {
    const link = this.master?.links.get(this);
    if (this.master !== undefined && link?.isOnline === true) this.acknowledge(link, this.master);
    this.after(1_000, () => this.acknowledgeEverySecond());
  }

  /** The master lost a replica that it has not heard for long. */
  dropLink(replica: SimServer): void {
    if (this.links.delete(replica))
      this.world.happen(10, replica, () => replica.master === this && replica.resync());
  }

  // --- clients

  connect(side: ServerSide): void {
    this.clients.set(side.id, { side, inbox: [], wait: undefined, offset: 0 });
  }

  /** The client has gone; what it had sent before has been executed, or is lost where the server's end was closed before. */
  disconnect(id: number): void {
    this.clients.get(id)?.wait?.cancel();
    this.clients.delete(id);
  }

  receive(id: number, commands: readonly Command[]): void {
    const client = this.clients.get(id);
    if (client === undefined) return;
    client.inbox.push(...commands);
    this.execute(client);
  }

  private execute(client: Client): void {
    while (client.wait === undefined && this.clients.has(client.side.id)) {
      const command = client.inbox.shift();
      if (command === undefined) return;
      const reply = this.answer(client, command);
      this.propagate();
      if (reply !== undefined) client.side.reply(reply);
    }
  }

  /** undefined: the answer comes later. */
  private answer(client: Client, [name, ...rest]: Command): Reply | undefined {
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
      case 'eval':
      case 'evalsha': {
        const script = (name === 'eval' ? scriptsByText : scriptsBySha).get(args[0]!);
        if (script === undefined) return new ErrorReply('NOSCRIPT No matching script. Please use EVAL.');
        if (this.role !== 'master')
          return new ErrorReply("READONLY You can't write against a read only replica.");
        const count = Number(args[1]);
        const reply = script(this.view(client), args.slice(2, 2 + count), args.slice(2 + count));
        client.offset = this.offset + this.writes.length;
        return reply;
      }
      case 'wait':
        return this.wait(client, Number(args[0]), Number(args[1]));
      default:
        return new ErrorReply(`ERR unknown command '${name}'`);
    }
  }

  private answerClient(client: Client, [what, ...args]: string[]): Reply {
    switch (what) {
      case 'id':
        return client.side.id;
      case 'list':
        return this.listedLinks
          .map(
            ({ id, madeAt }) =>
              `id=${id} addr=x:1 age=${Math.floor((this.world.now - madeAt) / 1000)} idle=0 flags=S\n`,
          )
          .join('');
      case 'kill': {
        const victim = this.clients.get(Number(args[1]));
        victim?.wait?.cancel();
        this.clients.delete(Number(args[1]));
        victim?.side.end();
        return victim === undefined ? 0 : 1;
      }
      case 'unblock': {
        const blocked = this.clients.get(Number(args[0]));
        if (blocked?.wait === undefined) return 0;
        this.endWait(blocked, this.confirmed(blocked.wait.offset));
        return 1;
      }
      case 'tracking':
        this.redirects.set(client.side.id, Number(args[2]));
        return 'OK';
      default:
        return new ErrorReply(`ERR unknown subcommand '${what}'`);
    }
  }

  private get listedLinks(): Link[] {
    return [...this.links.values(), ...this.deadLinks.values()];
  }

  private info(section: string): string {
    if (section === 'server') return `# Server\r\nrun_id:${this.runId}\r\n`;
    if (section === 'memory') return '# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n';
    const links = this.listedLinks.map(({ replica, isOnline, acknowledged }, i) => {
      const [ip, port] = replica.address.split(':');
      return `slave${i}:ip=${ip},port=${port},state=${isOnline ? 'online' : 'wait_bgsave'},offset=${acknowledged},lag=0\r\n`;
    });
    return `# Replication\r\nrole:${this.role}\r\n${links.join('')}master_replid:${this.replid}\r\nmaster_repl_offset:${this.offset}\r\n`;
  }

  // --- WAIT

  private confirmed(offset: number): number {
    return [...this.links.values()].filter(({ isOnline, acknowledged }) => isOnline && acknowledged >= offset)
      .length;
  }

  private wait(client: Client, need: number, timeout: number): Reply | undefined {
    if (this.role !== 'master') return new ErrorReply('ERR WAIT cannot be used with replica instances.');
    const { offset } = client;
    if (this.confirmed(offset) >= need) return this.confirmed(offset);
    const cancel = this.world.happen(Math.ceil(timeout / TICK) * TICK, this, () =>
      this.endWait(client, this.confirmed(offset)),
    );
    client.wait = { need, offset, cancel };
    // REPLCONF GETACK: all replicas are asked how far they are.
    for (const link of this.links.values()) {
      if (link.isOnline) this.transfer(link, this, () => link.replica.acknowledge(link, this));
    }
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

  get description(): string {
    const links = [...this.links.values()].map(
      ({ replica, isOnline }) => `${replica.name}${isOnline ? '' : ' (not yet)'}`,
    );
    return `${this.state} ${this.role} of ${this.master?.name ?? links.join(' ')}, ${this.clients.size} clients`;
  }

  // --- data

  private find(key: string): Entry | undefined {
    const entry = this.data.get(key);
    return entry !== undefined && entry.expiresAt > this.wall() ? entry : undefined;
  }

  pttl(key: string): number {
    const entry = this.find(key);
    return entry === undefined ? -2 : entry.expiresAt - this.wall();
  }

  valueAt(key: string): string | undefined {
    return this.find(key)?.value;
  }

  private view(client: Client): Data {
    const track = (key: string): void => {
      if (!this.redirects.has(client.side.id)) return;
      const readers = this.tracked.get(key) ?? new Set();
      this.tracked.set(key, readers.add(client.side.id));
    };
    return {
      get: (key) => {
        track(key);
        return this.find(key)?.value ?? null;
      },
      pttl: (key) => this.pttl(key),
      now: () => Math.floor(this.wall() * 1000),
      set: (key, value, px) => {
        const entry = { value, expiresAt: this.wall() + px };
        this.data.set(key, entry);
        this.writes.push({ key, entry });
        for (const reader of this.tracked.get(key) ?? []) {
          // NOLOOP: the writer itself is not told.
          if (reader !== client.side.id)
            this.clients.get(this.redirects.get(reader) ?? 0)?.side.push('__redis__:invalidate', key);
        }
        this.tracked.delete(key);
      },
    };
  }
}
