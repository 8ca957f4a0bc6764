import { freeze, named, replicasOf, type Fault, type NamedFault } from './fault.js';
import { keyIsHeldForLong, MILD_FAULTS } from './mild-faults.js';
import { SKEW, type Scene } from './scene.js';
import type { SimHost } from './world.js';

/** All servers, Sentinels and processes except `here`. */
function allBut({ servers, sentinels, workers }: Scene, here: readonly SimHost[]): SimHost[] {
  return [...servers, ...sentinels, ...workers.map(({ host }) => host)].filter(
    (host) => !here.includes(host),
  );
}

/**
 * Separates two sides: neither hears the other. A master drops replicas on the other side.
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
 * Only the Sentinels and some processes lose the master. The replicas are moved to a new master.
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

const handedOver: Fault = ({ watch }) => watch.handOver();

/**
 * The master loses a lock, and the holder counts on the lock for longer than a quarantine.
 * Processes have met the key before.
 */
const longLeaseIsForgotten: Fault = (scene) => {
  const { world, nemesis } = scene;
  keyIsHeldForLong(scene);
  world.happen(world.dice.between(300, 1_500), nemesis, () => masterRestarts(scene));
};

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
