import { LockService } from '../lib/lock/lock-service.js';
import type { Lock } from '../lib/lock/lock.js';
import { RedisStore } from '../lib/store/redis/redis-store.js';
import { UNBLOCKINGS } from './client-pause.js';
import { Excuses } from './excuses.js';
import { SimNetwork } from './network.js';
import { CALM_LAG, CALM_SYNC } from './replication.js';
import { SimSentinel, SimSentinels } from './sentinel.js';
import { SimServer, type ServerStyle } from './server.js';
import { SimHost, type SimWorld } from './world.js';

/** ms */
export const LEASE = 2_000;
/** ms by which the servers' clocks may differ. */
export const SKEW = 1_000;
/** ms after which a server closes idle connections, if at all. */
export const IDLE_TIMEOUT = 2_000;
/** ms that a caller waits for confirmations. */
export const REPLICA_TIMEOUT = 300;

/** The conditions of a schedule. */
export interface Weather {
  /**
   * Only faults that must cost no held lock occur, one after the other. Any other cost of theirs is
   * known.
   */
  readonly isMild: boolean;
  /** The style of the servers. */
  readonly servers: ServerStyle;
  /** The share of messages that TCP has to send again. */
  readonly loss: number;
  /** ms between two lost connections. Infinity: only faults end connections. */
  readonly cutEvery: number;
  /**
   * ms between two stutters of a process, which then stops for a while. Infinity: only faults stop
   * processes.
   */
  readonly stutterEvery: number;
  /** ms without a word from a replica after which a master drops the replica. */
  readonly replTimeout: number;
}

/** One process that takes locks. */
export interface Worker {
  readonly host: SimHost;
  readonly service: LockService;
  readonly held: Set<Lock>;
}

/** Another program that holds the foreign key, and counts on it until the instant. */
export interface ForeignHolder {
  readonly until: number;
  readonly limit: number;
}

/** Servers, Sentinels and processes of one schedule. */
export interface Scene {
  readonly world: SimWorld;
  readonly network: SimNetwork;
  readonly weather: Weather;
  readonly servers: readonly SimServer[];
  readonly sentinels: readonly SimSentinel[];
  readonly watch: SimSentinels;
  readonly workers: readonly Worker[];
  readonly policy: 'all' | 'majority';
  readonly excuses: Excuses;
  /** Keys that are also asked for, although they may be refused. */
  readonly strayKeys: Set<string>;
  /** By owner: the holders of the foreign key. */
  readonly foreign: Map<string, ForeignHolder>;
  /** The names of the faults that have begun. */
  readonly happened: Set<string>;
  /** Makes a process ask for dozens of locks at once, again and again for `ms`. */
  rush: (ms: number) => void;
  /** The host on which faults are timed. */
  readonly nemesis: SimHost;
}

/** The keys of mutexes, and the keys that are asked for with all limits. */
export const ALONE_KEYS: readonly string[] = ['a', 'b'];
export const SHARED_KEYS: readonly string[] = ['c', 'd'];

/** The limits of the locks on shared keys. */
export const LIMITS: readonly number[] = [1, 2, 2, 3, Infinity];

/**
 * A key that the user may not touch, a key that is asked for with a lease that is too long, and a
 * key that another program holds for longer than any lease here.
 */
export const FORBIDDEN_KEY = 'x';
export const LONG_KEY = 'long';
export const FOREIGN_KEY = 'odd';

function weatherOf({ dice }: SimWorld): Weather {
  const isMild = dice.chance(0.4);
  return {
    isMild,
    servers: {
      lag: isMild ? dice.pick([CALM_LAG, CALM_LAG, 60]) : dice.pick([CALM_LAG, CALM_LAG, CALM_LAG, 60, 250]),
      syncTime: isMild ? CALM_SYNC : dice.pick([CALM_SYNC, CALM_SYNC, 1_500, 6_000]),
      hasRdbChannel: dice.chance(0.5),
      unblocking: dice.pick(UNBLOCKINGS),
      idleTimeout: dice.pick([Infinity, Infinity, IDLE_TIMEOUT]),
    },
    loss: isMild ? 0 : dice.pick([0, 0, 0.02, 0.1]),
    cutEvery: isMild ? Infinity : dice.pick([Infinity, Infinity, 900, 300]),
    stutterEvery: isMild ? Infinity : dice.pick([Infinity, Infinity, 700]),
    replTimeout: dice.pick([1_500, 4_000]),
  };
}

export function setScene(world: SimWorld): Scene {
  const { dice } = world;
  const weather = weatherOf(world);
  const targets = new Map<string, SimServer | SimSentinel>();
  const network = new SimNetwork(world, targets, weather.loss);
  const count = dice.pick([1, 2, 2, 3, 3]);
  const servers: SimServer[] = Array.from({ length: count + 1 }, (_, i): SimServer => {
    const address = `10.0.0.${i + 1}:6379`;
    const offset = dice.between(-SKEW / 2, SKEW / 2);
    const server: SimServer = new SimServer(
      world,
      `redis${i}`,
      address,
      offset,
      (to) => network.canReach(server, to),
      { ...weather.servers },
    );
    server.forbidden.add(`lock:${FORBIDDEN_KEY}`);
    targets.set(address, server);
    return server;
  });
  SimServer.linkForLong(servers[0]!, servers.slice(1), dice.between(10_000, 60_000));
  const sentinels = Array.from({ length: 3 }, (_, i) => {
    const sentinel = new SimSentinel(world, `sent${i}`, servers);
    targets.set(`10.0.1.${i + 1}:26379`, sentinel);
    return sentinel;
  });
  const downAfter = weather.isMild ? 5_000 : dice.between(300, 1_000);
  const watch = new SimSentinels(world, sentinels, servers, (a, b) => network.canReach(a, b), downAfter);
  watch.watch();
  const policy = dice.pick(['all', 'majority'] as const);
  const workers = Array.from({ length: dice.pick([2, 3]) }, (_, i) => makeWorker(world, network, policy, i));
  return {
    world,
    network,
    weather,
    servers,
    sentinels,
    watch,
    workers,
    policy,
    excuses: new Excuses(),
    strayKeys: new Set(),
    happened: new Set(),
    rush: () => {},
    foreign: new Map(),
    nemesis: new SimHost(world, 'nemesis', 1, 0, true),
  };
}

function makeWorker(world: SimWorld, network: SimNetwork, policy: 'all' | 'majority', index: number): Worker {
  const { dice } = world;
  const host = new SimHost(
    world,
    `proc${index}`,
    1 + dice.between(-0.004, 0.004),
    dice.between(-5_000, 5_000),
    true,
  );
  const sentinels = [1, 2, 3].map((n) => ({ host: `10.0.1.${n}`, port: 26379 }));
  const store = new RedisStore(
    {
      connection: { sentinels, name: 'mymaster' },
      keyPrefix: 'lock:',
      replicas: policy,
      allowNoReplicas: false,
      quarantine: LEASE,
      replicaTimeout: REPLICA_TIMEOUT,
      clockSkew: SKEW,
      allowEviction: false,
    },
    host,
    network.connector(host),
  );
  const defaults = {
    leaseTime: LEASE,
    waitTime: 800,
    renew: true,
    maxHoldTime: undefined,
    replicas: policy,
    replicaTimeout: REPLICA_TIMEOUT,
    shutdownTimeout: 0,
    quarantine: LEASE,
  };
  const service = new LockService(store, defaults, host);
  service.events.subscribe((event) => {
    if (event.type === 'lost') world.tell(host.name, `loses ${event.keys.join('+')}: ${event.error.message}`);
  });
  store.reports.subscribe(({ message }) => world.tell(host.name, message));
  return { host, service, held: new Set() };
}
