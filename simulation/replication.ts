import { SimHost, type SimWorld } from './world.js';

export interface Entry {
  readonly value: string;
  /** By the wall clock of whoever asks. */
  readonly expiresAt: number;
}

/** A change of one key; undefined: it is deleted. */
export interface Write {
  readonly key: string;
  readonly entry: Entry | undefined;
}

/** One replica as its master sees it. */
export interface Link {
  readonly id: number;
  readonly replica: SimReplica;
  readonly madeAt: number;
  isOnline: boolean;
  acknowledged: number;
  /** When it was made, or last acknowledged anything. */
  heardAt: number;
  /** A replica in full sync acknowledges nothing before it has loaded the file. */
  hasAcknowledged: boolean;
  /** When the last bytes of the stream arrive: it keeps its order. */
  arrivesAt: number;
  /** The second connection of a full synchronisation over Redis 8's RDB channel, while it stands. */
  rdbChannel: number | undefined;
}

/** ms that replication needs at the most while all is well, and a full synchronisation. */
export const CALM_LAG = 2;
export const CALM_SYNC = 120;

/** How servers of one schedule replicate. */
export interface ReplicationStyle {
  /** ms that the stream and its acknowledgements need at the most. */
  lag: number;
  /** ms that a full synchronisation takes at the most. */
  syncTime: number;
  /** Full synchronisations use a second connection, as Redis 8 does by default. */
  readonly hasRdbChannel: boolean;
}

let ids = 0;

/** What a Redis server is to other servers: a run with data and a history, which follows a master or is followed. */
export abstract class SimReplica extends SimHost {
  runId = '';
  replid = '';
  offset = 0;
  /** The history that it shared until it was promoted at this offset. */
  private formerHistory: { replid: string; until: number } | undefined;
  role: 'master' | 'slave' = 'master';
  master: SimReplica | undefined;
  data = new Map<string, Entry>();
  readonly links = new Map<SimReplica, Link>();
  /** A replica's former link, which its master does not know to be dead: listed beside the new one. */
  private readonly deadLinks = new Map<SimReplica, Link>();
  /** What the command that is being executed has changed. */
  protected readonly writes: Write[] = [];
  private snapshot = new Map<string, Entry>();
  /** Connections of an earlier run mean nothing to this one. */
  private generation = 0;

  constructor(
    world: SimWorld,
    name: string,
    readonly address: string,
    wallOffset: number,
    private readonly reach: (to: SimReplica) => boolean,
    readonly style: ReplicationStyle,
  ) {
    super(world, name, 1, wallOffset);
    this.begin();
  }

  /** Replicas have acknowledged something. */
  protected abstract onAcknowledged(): void;
  /** It follows another server now. */
  protected abstract onDemoted(): void;

  // --- life

  protected begin(): void {
    this.generation++;
    this.runId = `run${++ids}`;
    this.replid = `repl${++ids}`;
    this.formerHistory = undefined;
    this.links.clear();
    this.deadLinks.clear();
  }

  crash(): void {
    this.world.tell(this.name, 'crashes');
    this.leaveReplicas();
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
  follow(master: SimReplica): void {
    this.master?.links.delete(this);
    this.role = 'slave';
    this.master = master;
    this.onDemoted();
    this.leaveReplicas();
    this.links.clear();
    this.resync();
  }

  private leaveReplicas(): void {
    for (const replica of this.links.keys())
      this.world.happen(5, replica, () => replica.master === this && replica.resync());
  }

  // --- links

  /** Links to its master anew, with a copy of all its data; tries again while that cannot be had. */
  private resync(): void {
    const { master, generation, world, style } = this;
    if (master === undefined) return;
    const before = master.links.get(this);
    if (before?.isOnline === true && world.dice.chance(0.5)) {
      master.deadLinks.set(this, { ...before });
      world.happen(world.dice.between(500, 4_000), master, () => master.deadLinks.delete(this));
    }
    master.links.delete(this);
    const again = (): void => {
      if (this.master === master && this.generation === generation) this.resync();
    };
    if (master.state !== 'running' || master.role !== 'master' || !this.reach(master)) {
      world.happen(200, this, again);
      return;
    }
    const isPartial = master.knowsHistoryOf(this);
    const link: Link = {
      id: ++ids,
      replica: this,
      madeAt: world.now,
      isOnline: false,
      acknowledged: 0,
      heardAt: world.now,
      hasAcknowledged: false,
      arrivesAt: 0,
      rdbChannel: style.hasRdbChannel && !isPartial ? ++ids : undefined,
    };
    master.links.set(this, link);
    // A partial resynchronisation brings what a full one brings, for its history is a part of the master's; only sooner.
    const time = isPartial ? world.dice.between(0.2, 3) : world.dice.between(2, style.syncTime);
    world.happen(time, master, () => {
      // Another link has taken its place.
      if (master.links.get(this) !== link) return;
      link.isOnline = true;
      link.rdbChannel = undefined;
      const { replid, offset } = master;
      const copy = new Map(master.data);
      this.transfer(link, master, () => {
        this.data = copy;
        this.offset = offset;
        this.replid = replid;
        this.acknowledgeTo(link, master);
      });
    });
  }

  private knowsHistoryOf({ replid, offset }: SimReplica): boolean {
    const { formerHistory } = this;
    return replid === this.replid || (replid === formerHistory?.replid && offset <= formerHistory.until);
  }

  /** Links made long before the simulation begins. */
  static linkForLong(master: SimReplica, replicas: readonly SimReplica[], ms: number): void {
    for (const replica of replicas) {
      replica.role = 'slave';
      replica.master = master;
      replica.replid = master.replid;
      master.links.set(replica, {
        id: ++ids,
        replica,
        madeAt: -ms,
        isOnline: true,
        acknowledged: 0,
        heardAt: 0,
        hasAcknowledged: true,
        arrivesAt: 0,
        rdbChannel: undefined,
      });
    }
  }

  /** The master lost a replica that it has not heard for long. */
  dropLink(replica: SimReplica): void {
    if (this.links.delete(replica))
      this.world.happen(10, replica, () => replica.master === this && replica.resync());
  }

  protected get listedLinks(): Link[] {
    return [...this.links.values(), ...this.deadLinks.values()];
  }

  /** How many replicas have acknowledged everything up to `offset`. */
  protected confirmed(offset: number): number {
    let count = 0;
    for (const { isOnline, acknowledged } of this.links.values())
      if (isOnline && acknowledged >= offset) count++;
    return count;
  }

  // --- the stream

  /** Something of the stream on its way to a replica: in order, and only while the link stands. */
  private transfer(link: Link, master: SimReplica, arrive: () => void): void {
    const { world } = this;
    const deliver = (): void => {
      if (master.links.get(link.replica) !== link) return;
      if (!link.replica.reach(master)) world.happen(50, link.replica, deliver);
      else arrive();
    };
    link.arrivesAt = Math.max(link.arrivesAt, world.now + world.dice.between(0.1, this.style.lag)) + 0.001;
    world.happen(link.arrivesAt - world.now, link.replica, deliver);
  }

  private acknowledgeTo(link: Link, master: SimReplica): void {
    const { offset } = this;
    this.world.happen(this.world.dice.between(0.1, this.style.lag), master, () => {
      if (master.links.get(this) !== link || !this.reach(master)) return;
      link.acknowledged = Math.max(link.acknowledged, offset);
      link.heardAt = this.world.now;
      link.hasAcknowledged = true;
      // What the dead link's socket still held is read, too: both lines say the same.
      const dead = master.deadLinks.get(this);
      if (dead !== undefined) dead.acknowledged = link.acknowledged;
      master.onAcknowledged();
    });
  }

  protected propagate(): void {
    if (this.writes.length === 0) return;
    const writes = this.writes.splice(0);
    this.offset += writes.length;
    const { offset } = this;
    for (const link of this.links.values()) {
      if (!link.isOnline) continue;
      this.transfer(link, this, () => {
        for (const { key, entry } of writes) {
          if (entry === undefined) link.replica.data.delete(key);
          else link.replica.data.set(key, entry);
        }
        link.replica.offset = offset;
      });
    }
  }

  /** REPLCONF GETACK: all replicas are asked how far they are. */
  protected askReplicas(): void {
    for (const link of this.links.values()) {
      if (link.isOnline) this.transfer(link, this, () => link.replica.acknowledgeTo(link, this));
    }
  }

  /** An acknowledgement that nobody asked for: replicas send one every second. */
  protected acknowledge(): void {
    const link = this.master?.links.get(this);
    if (this.master !== undefined && link?.isOnline === true) this.acknowledgeTo(link, this.master);
  }
}
