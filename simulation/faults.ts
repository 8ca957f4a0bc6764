import { FORBIDDEN_KEY, FOREIGN_KEY, LEASE, LONG_KEY, SKEW, type Scene } from './scene.js';
import { SimServer } from './server.js';
import type { SimHost } from './world.js';

/**
 * Something that goes wrong, at once or for a while. A fault mends what it breaks, or the end of
 * the faults does.
 */
export type Fault = (scene: Scene) => unknown;

/** ms that a process may need to connect anew and to ask again. */
const RECONNECT_TIME = 1_500;
/**
 * Longest turn of an event loop, in ms, within which no lock may be lost: a little less than a
 * third of the lease.
 */
const LIVELY_TURN = 0.32 * LEASE;

/** The servers that follow a master. */
function replicasOf({ servers }: Scene): SimServer[] {
  return servers.filter((server) => server.role === 'slave');
}

/** All servers, Sentinels and processes except `here`. */
function allBut({ servers, sentinels, workers }: Scene, here: readonly SimHost[]): SimHost[] {
  return [...servers, ...sentinels, ...workers.map(({ host }) => host)].filter(
    (host) => !here.includes(host),
  );
}

/** Stops a host for `ms`. Messages and timers of that time are handled when the host runs again. */
export function freeze({ world, nemesis }: Scene, host: SimHost, ms: number): void {
  world.tell(host.name, 'freezes');
  host.freeze();
  world.happen(ms, nemesis, () => {
    world.tell(host.name, 'runs again');
    host.thaw();
  });
}

/**
 * Separates two sides: neither hears the other. A master drops the replicas that it does not hear.
 */
function split(scene: Scene, here: readonly SimHost[], there: readonly SimHost[], ms: number): void {
  const { world, network, nemesis, watch, weather } = scene;
  world.tell(
    'nemesis',
    `splits ${here.map(({ name }) => name).join(' ')} from ${there.map(({ name }) => name).join(' ')}`,
  );
  network.separate(here, there);
  const old = watch.master;
  world.happen(weather.replTimeout, nemesis, () => {
    for (const replica of replicasOf(scene)) if (!network.canReach(replica, old)) old.dropLink(replica);
  });
  world.happen(ms, nemesis, () => {
    world.tell('nemesis', 'heals');
    network.heal();
  });
}

const masterCrashes: Fault = ({ world, watch, nemesis }) => {
  const { master } = watch;
  if (master.state !== 'running') return;
  master.crash();
  world.happen(world.dice.between(1_500, 4_000), nemesis, () => {
    if (master.state !== 'dead') return;
    master.role = watch.master === master ? 'master' : 'slave';
    master.master = watch.master === master ? undefined : watch.master;
    master.restart();
  });
};

const serverFreezes: Fault = (scene) => {
  const { dice } = scene.world;
  freeze(scene, dice.chance(0.6) ? scene.watch.master : dice.pick(scene.servers), dice.between(100, 5_000));
};

const falseAlarm: Fault = ({ world, watch }) => {
  world.tell('nemesis', 'false alarm');
  watch.failOver();
};

const replicaCrashes: Fault = (scene) => {
  const { world, nemesis } = scene;
  const replica = world.dice.pick(replicasOf(scene));
  if (replica?.state !== 'running') return;
  replica.crash();
  world.happen(world.dice.between(100, 2_500), nemesis, () => replica.state === 'dead' && replica.restart());
};

/** The master restarts too quickly for a Sentinel to notice: empty, or with an old snapshot. */
const masterRestarts: Fault = ({ world, watch, nemesis }) => {
  const { master } = watch;
  if (master.state !== 'running') return;
  const withSnapshot = world.dice.chance(0.5);
  if (withSnapshot) master.save();
  world.happen(withSnapshot ? world.dice.between(50, 2_500) : 0, nemesis, () => {
    if (master.state !== 'running' || master.role !== 'master') return;
    const replicas = [...master.links.keys()];
    master.crash();
    world.happen(world.dice.between(20, 200), nemesis, () => {
      if (master.state !== 'dead') return;
      master.restart(withSnapshot);
      for (const replica of replicas) if (replica.master === master) replica.follow(master);
    });
  });
};

const connectionsCut: Fault = ({ world, network }) => {
  world.tell('nemesis', 'cuts connections');
  for (const connection of network.connections) if (world.dice.chance(0.5)) connection.cut();
};

/** Perhaps a Sentinel that goes on naming the old master. */
function oneSentinelPerhaps({ world, sentinels }: Scene): SimHost[] {
  return world.dice.chance(0.5) ? [sentinels[2]!] : [];
}

/** The master, some replicas and some processes are on one side. */
const partition: Fault = (scene) => {
  const { world, watch, servers, workers } = scene;
  const { dice } = world;
  const here = [
    watch.master,
    ...servers.filter((server) => server !== watch.master && dice.chance(0.4)),
    ...workers.filter(() => dice.chance(0.5)).map(({ host }) => host),
    ...oneSentinelPerhaps(scene),
  ];
  split(scene, here, allBut(scene, here), dice.between(800, 7_000));
};

/** Lasts long enough for a new master to grant beside the old one, if both could. */
const splitBrain: Fault = (scene) => {
  const { world, watch, workers } = scene;
  const replica = world.dice.pick(replicasOf(scene));
  const isAlone = replica === undefined || world.dice.chance(0.5);
  if (!isAlone && world.dice.chance(0.5)) watch.master.dropLink(replica);
  const here = [watch.master, ...(isAlone ? [] : [replica]), workers[0]!.host, ...oneSentinelPerhaps(scene)];
  split(scene, here, allBut(scene, here), world.dice.between(4_000, 8_000));
};

/**
 * Only the Sentinels and some processes lose the master. Its replicas are moved to a new master.
 * Some are sent back by a Sentinel that has not heard of the new master, and are then moved again.
 */
const tugOfWar: Fault = (scene) => {
  const { world, watch, sentinels, workers, nemesis, network } = scene;
  const old = watch.master;
  const [stays, ...others] = workers.map(({ host }) => host);
  world.tell('nemesis', `only ${stays!.name} and the replicas hear ${old.name}, which fails over`);
  network.separate([old], [...sentinels, ...others]);
  network.separate([stays!], sentinels);
  watch.failOver();
  const first = world.dice.between(2_300, 4_200);
  for (const [after, isBack] of [
    [first, true],
    [first + world.dice.between(200, 1_500), false],
  ] as const) {
    world.happen(after, nemesis, () => {
      for (const replica of replicasOf(scene)) {
        if (replica === old || !world.dice.chance(0.8)) continue;
        const to = isBack ? old : watch.master;
        if (to.role !== 'master' || replica === to) continue;
        world.tell('nemesis', `sends ${replica.name} to ${to.name}`);
        replica.follow(to);
      }
    });
  }
  world.happen(first + 3_000, nemesis, () => {
    world.tell('nemesis', 'heals');
    network.heal();
  });
};

const workerFreezes: Fault = (scene) => {
  const { dice } = scene.world;
  const ms = dice.chance(0.5) ? dice.between(50, 1_500) : dice.between(2_500, 5_500);
  freeze(scene, dice.pick(scene.workers).host, ms);
};

const workersClockIsSet: Fault = ({ world, workers }) => {
  const { host } = world.dice.pick(workers);
  const step = world.dice.between(-3_000, 3_000);
  world.tell(host.name, `has its clock set by ${step.toFixed(0)} ms`);
  host.stepWall(step);
};

/** Stays within the difference that is allowed between the servers' clocks. */
const serversClockIsSet: Fault = ({ world, watch, servers }) => {
  const server = world.dice.chance(0.7) ? watch.master : world.dice.pick(servers);
  const ahead = world.dice.between(-SKEW / 2, SKEW / 2);
  world.tell(server.name, `has its clock ${ahead.toFixed(0)} ms ahead`);
  server.setWallOffset(ahead);
};

const replicasFreeze: Fault = (scene) => {
  for (const replica of replicasOf(scene)) {
    if (scene.world.dice.chance(0.7)) freeze(scene, replica, scene.world.dice.between(50, 900));
  }
};

const linksBreak: Fault = (scene) => {
  const { world, watch } = scene;
  world.tell('nemesis', 'breaks replication links');
  for (const replica of replicasOf(scene)) if (world.dice.chance(0.7)) watch.master.dropLink(replica);
};

// --- faults that must cost no held lock, if nothing else is wrong

const clientsPaused: Fault = ({ world, weather, watch, nemesis, excuses }) => {
  const { dice } = world;
  const kind = dice.pick(['WRITE', 'WRITE', 'ALL'] as const);
  const longest = weather.isMild ? (kind === 'ALL' ? 200 : 600) : 2_500;
  for (let i = 0, pauses = dice.pick([1, 2, 5]); i < pauses; i++) {
    world.happen(i * dice.between(30, 200), nemesis, () => {
      const ms = dice.between(20, longest / pauses);
      excuses.add('refusal', world.now + ms + RECONNECT_TIME);
      watch.master.pauseClients(ms, kind);
    });
  }
};

/**
 * The library ends a WAIT that hangs for the requests behind it, while writes are paused from time
 * to time.
 */
const clientsPausedBesideHungReplica: Fault = (scene) => {
  const { world, watch, nemesis, excuses } = scene;
  const { dice } = world;
  const replica = dice.pick(replicasOf(scene));
  if (replica === undefined) return;
  const ms = dice.between(600, 1_600);
  excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  if (replicasOf(scene).length < 2) excuses.add('loss', world.now + ms + LEASE);
  freeze(scene, replica, ms);
  for (let at = dice.between(20, 200); at < ms; at += dice.between(40, 300)) {
    world.happen(at, nemesis, () => watch.master.pauseClients(dice.between(10, 90), 'WRITE'));
  }
};

/** The same, but with so many requests that a second group is sent behind the first. */
const clientsPausedInRush: Fault = (scene) => {
  scene.rush(1_500);
  clientsPausedBesideHungReplica(scene);
};

const loopIsBusy: Fault = ({ world, weather, workers, excuses }) => {
  const { dice } = world;
  const { host } = dice.pick(workers);
  const longest = weather.isMild ? LIVELY_TURN : 1_500;
  const turn = dice.pick([dice.between(15, 80), dice.between(80, longest), longest]);
  const ms = dice.between(2_000, 4_000);
  world.tell(host.name, `has an event loop turn only every ${turn.toFixed(0)} ms, for ${ms.toFixed(0)} ms`);
  // An answer may be read two turns after its question was due.
  excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  host.beBusy(ms, () => turn * dice.between(0.9, 1));
};

const answersAreLost: Fault = ({ world, network, weather }) => {
  const script = world.dice.pick(['release', 'acquire', 'renew'] as const);
  const count = weather.isMild ? world.dice.pick([1, 2]) : world.dice.pick([1, 3, 10]);
  world.tell('nemesis', `loses the next ${count} answers to ${script}`);
  network.loseAnswers(script, count);
};

const memoryIsFull: Fault = ({ world, watch, nemesis, excuses }) => {
  const { master } = watch;
  const ms = world.dice.between(300, 1_500);
  world.tell(master.name, `has no memory left for ${ms.toFixed(0)} ms`);
  excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  master.isFull = true;
  world.happen(ms, nemesis, () => (master.isFull = false));
};

const scriptsAreFlushed: Fault = ({ watch }) => watch.master.forgetScripts();

const oneReplicaAway: Fault = (scene) => {
  const { world, excuses, policy } = scene;
  const replica = world.dice.pick(replicasOf(scene));
  if (replica === undefined) return;
  const ms = world.dice.between(100, 1_500);
  const isNeeded = replicasOf(scene).length < 2;
  if (isNeeded) excuses.add('loss', world.now + ms + LEASE);
  if (isNeeded || policy === 'all') excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  freeze(scene, replica, ms);
};

const sentinelHangs: Fault = (scene) => {
  const { world, network, nemesis, sentinels } = scene;
  const sentinel = world.dice.pick(sentinels);
  const ms = world.dice.between(500, 6_000);
  if (world.dice.chance(0.5)) freeze(scene, sentinel, ms);
  else {
    world.tell(sentinel.name, 'accepts connections and never answers');
    network.silence(sentinel);
    world.happen(ms, nemesis, () => network.endSilence(sentinel));
  }
};

/** A command that is sent to the master meanwhile is never answered on that connection. */
const masterIsSilent: Fault = ({ world, network, watch, nemesis, excuses }) => {
  const { master } = watch;
  const ms = world.dice.between(200, 1_500);
  world.tell(master.name, 'accepts connections and never answers');
  network.silence(master);
  excuses.add('loss', world.now + ms + LEASE);
  excuses.add('refusal', world.now + ms + 2 * RECONNECT_TIME);
  world.happen(ms, nemesis, () => {
    world.tell(master.name, 'answers again');
    network.endSilence(master);
  });
};

/**
 * The replica's full synchronisation takes long. The other replicas have old links, and are a
 * majority together with the master.
 */
const replicaReturnsSlowly: Fault = (scene) => {
  const { world, nemesis, excuses } = scene;
  const replica = world.dice.pick(replicasOf(scene));
  if (replica?.state !== 'running') return;
  if (replicasOf(scene).length < 2) {
    excuses.add('loss', Infinity);
    excuses.add('refusal', Infinity);
  }
  replica.crash();
  replica.style.syncTime = 6_000;
  world.happen(world.dice.between(50, 500), nemesis, () => replica.state === 'dead' && replica.restart());
};

/**
 * A process meets a key that another program holds, or an application with longer leases. Other
 * keys do not have to wait for that key.
 */
const keyIsHeldForLong: Fault = ({ world, watch, foreign, strayKeys }) => {
  if (watch.master.valueAt(`lock:${FOREIGN_KEY}`)?.startsWith('rl:') === true) return;
  const ms = world.dice.pick([4_000, 7_000, 86_400_000]);
  world.tell('nemesis', `takes ${FOREIGN_KEY} for ${ms} ms`);
  const owner = `rl:foreign:${foreign.size + 1}`;
  foreign.set(owner, world.now + ms);
  strayKeys.add(FOREIGN_KEY);
  watch.master.put(`lock:${FOREIGN_KEY}`, `${owner} 1700000000000000`, ms + SKEW);
};

/** One request is refused. Requests in the same group are not. */
const keyIsForbidden: Fault = ({ strayKeys }) => strayKeys.add(FORBIDDEN_KEY);

const leasesAreTooLong: Fault = ({ strayKeys }) => strayKeys.add(LONG_KEY);

// --- other faults

const handedOver: Fault = ({ watch }) => watch.handOver();

/**
 * The master loses a lock whose holder believes in it for longer than a quarantine. Processes have
 * met the key before.
 */
const longLeaseIsForgotten: Fault = (scene) => {
  const { world, nemesis } = scene;
  keyIsHeldForLong(scene);
  world.happen(world.dice.between(300, 1_500), nemesis, () => masterRestarts(scene));
};

export interface NamedFault {
  readonly name: string;
  readonly run: (scene: Scene) => void;
  /** A multiple of the time that a fault has in a mild schedule. */
  readonly length: number;
}

const named = (faults: Readonly<Record<string, Fault>>, length = 1): NamedFault[] =>
  Object.entries(faults).map(([name, run]) => ({
    name,
    length,
    run: (scene) => {
      scene.happened.add(name);
      run(scene);
    },
  }));

export const BUSY = 'busy event loop';
export const RUSH = 'clients paused in a rush of requests';

/**
 * These faults must cost no held lock if they come one after the other, with time to recover
 * between them.
 */
export const MILD_FAULTS: readonly NamedFault[] = [
  ...named({
    'clients paused': clientsPaused,
    'clients paused beside a hung replica': clientsPausedBesideHungReplica,
    [RUSH]: clientsPausedInRush,
    'answers lost': answersAreLost,
    'memory full': memoryIsFull,
    'scripts flushed': scriptsAreFlushed,
    'one replica away': oneReplicaAway,
    'silent master': masterIsSilent,
    'key held for a long time': keyIsHeldForLong,
    'key forbidden': keyIsForbidden,
    'leases too long': leasesAreTooLong,
  }),
  ...named({ [BUSY]: loopIsBusy }, 2),
  ...named({ 'a Sentinel hangs': sentinelHangs, 'replica returns slowly': replicaReturnsSlowly }, 3),
];

export const FAULTS: readonly NamedFault[] = [
  ...named({
    'master crashes': masterCrashes,
    'server freezes': serverFreezes,
    'false alarm': falseAlarm,
    'replica crashes': replicaCrashes,
    'master restarts': masterRestarts,
    'connections cut': connectionsCut,
    partition,
    'split brain': splitBrain,
    'tug of war': tugOfWar,
    'worker freezes': workerFreezes,
    "a worker's clock is set": workersClockIsSet,
    "a server's clock is set": serversClockIsSet,
    'replicas freeze': replicasFreeze,
    'links break': linksBreak,
    'master hands over': handedOver,
    'long lease forgotten': longLeaseIsForgotten,
  }),
  ...MILD_FAULTS,
];
