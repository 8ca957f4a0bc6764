import { SimHost, type SimWorld } from './world.js';

export interface Entry {
  readonly value: string;
  /** By the wall clock of the server that reads the entry. */
  readonly expiresAt: number;
}

/** A change of one key. Without an entry the key is deleted. */
export interface Write {
  readonly key: string;
  readonly entry: Entry | undefined;
  /** The owner whose permit was written. */
  readonly field?: string | undefined;
}

/** One replica as the master sees it. */
export interface Link {
  readonly id: number;
  readonly replica: SimReplica;
  readonly madeAt: number;
  isOnline: boolean;
  acknowledged: number;
  /** When the link was made, or last acknowledged anything. */
  heardAt: number;
  /** A replica in full sync acknowledges nothing until the file is loaded. */
  hasAcknowledged: boolean;
  /** When the last bytes of the stream arrive: the stream keeps its order. */
  arrivesAt: number;
  /**
   * The second connection of a full synchronisation over Redis 8's RDB channel, while that lasts.
   */
  rdbChannel: number | undefined;
}

/** Most ms that replication and a full synchronisation need if nothing is wrong. */
export const CALM_LAG = 2;
export const CALM_SYNC = 120;

/** How the servers of one schedule replicate. */
export interface ReplicationStyle {
  /** Most ms that the stream and the acknowledgements need. */
  lag: number;
  /** Most ms that a full synchronisation takes. */
  syncTime: number;
  /** Full synchronisations use a second connection, as Redis 8 does by default. */
  readonly hasRdbChannel: boolean;
}

let ids = 0;

/**
 * A Redis server as other servers see it: a run with data and a history, which follows a master or
 * has replicas.
 */
export abstract class SimReplica extends SimHost {
  runId = '';
  replid = '';
  offset = 0;
  /** The history that the server shared until it was promoted at this offset. */
  private formerHistory: { replid: string; until: number } | undefined;
  role: 'master' | 'slave' = 'master';
  master: SimReplica | undefined;
  data = new Map<string, Entry>();
  readonly links = new Map<SimReplica, Link>();
  /**
   * Former links of replicas, which the master does not know to be dead. INFO lists them beside the
   * new links.
   */
  private readonly deadLinks = new Map<SimReplica, Link>();
  /** Changes of the command that is being executed. */
  protected readonly writes: Write[] = [];
  private snapshot = new Map<string, Entry>();
  /** Counts the runs: connections of an earlier run mean nothing to this one. */
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

  /** A replica has acknowledged something. */
  protected abstract onAcknowledged(): void;
  /** The server follows another server now. */
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

  /** Starts a new run: empty, or with the data that `save` kept. */
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

  /**
   * REPLICAOF: takes over the data of that master. A former master turns blocked clients away.
   */
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

  /** Links to the master anew, with a copy of all data. Tries again until that works. */
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
    // A partial resynchronisation brings the same data as a full one, only sooner: the replica's
    // history is a part of the master's.
    const time = isPartial ? world.dice.between(0.2, 3) : world.dice.between(2, style.syncTime);
    world.happen(time, master, () => {
      // Another link has taken this link's place.
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

  /** Links that were made long before the simulation begins. */
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

  /** The master drops a replica after `replTimeout` ms without an acknowledgement. */
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

  /** Sends a part of the stream to a replica: in order, and only while the link stands. */
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
      // The master also reads what the dead link's socket still held: both lines report the same.
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

  /** REPLCONF GETACK: asks all replicas for their offset. */
  protected askReplicas(): void {
    for (const link of this.links.values()) {
      if (link.isOnline) this.transfer(link, this, () => link.replica.acknowledgeTo(link, this));
    }
  }

  /** Sends an acknowledgement unasked, as replicas do every second. */
  protected acknowledge(): void {
    const link = this.master?.links.get(this);
    if (this.master !== undefined && link?.isOnline === true) this.acknowledgeTo(link, this.master);
  }
}
