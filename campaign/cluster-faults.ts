import { setTimeout as sleep } from 'node:timers/promises';
import { KEY_SLOTS, type ClusterDeployment } from './cluster-deployment.js';
import { now } from './events.js';
import {
  catchUp,
  cutConnections,
  fallBehind,
  freezeForAWhile,
  pauseWritesBeside,
  pick,
  restartAtOnce,
  type Fault,
  type Scene,
} from './fault.js';
import type { Server } from './server.js';
import { until } from './until.js';

type ClusterScene = Scene<ClusterDeployment>;

interface Shard {
  readonly master: Server;
  readonly replicas: readonly Server[];
}

/** One of the three shards. */
async function anyShard(scene: ClusterScene): Promise<Shard> {
  const servers = scene.deployment.shard(pick(scene, [0, 1, 2]));
  const master = await scene.deployment.masterOf(servers);
  return { master, replicas: servers.filter((server) => server !== master) };
}

async function anotherMaster(scene: ClusterScene, than: Server): Promise<Server> {
  return pick(
    scene,
    (await scene.deployment.masters()).filter((master) => master !== than),
  );
}

async function untilReplaced(scene: ClusterScene, old: Server): Promise<Server> {
  const { deployment } = scene;
  const shard = deployment.shardOf(old);
  await until(
    'another master is in charge',
    async () => (await deployment.masterOf(shard)) !== old,
    15_000,
  ).catch(() => {});
  return deployment.masterOf(shard);
}

async function kill(scene: ClusterScene, lagging: boolean): Promise<Server> {
  const { master, replicas } = await anyShard(scene);
  if (lagging) await fallBehind(scene, master, replicas);
  await master.kill();
  await catchUp(scene, replicas);
  return untilReplaced(scene, master);
}

/** Slots of some of the keys, of all three kinds of locks, that this master serves. */
async function slotsOf({ deployment, random }: ClusterScene, master: Server, most = 8): Promise<number[]> {
  const own = new Set(await deployment.slotsOf(master));
  const shuffled = KEY_SLOTS.map((slot) => ({ slot, place: random() })).toSorted((a, b) => a.place - b.place);
  return shuffled
    .map(({ slot }) => slot)
    .filter((slot) => own.has(slot))
    .slice(0, most);
}

/**
 * Moves slots away from a master, and stops in the middle of the last slot: its keys have moved,
 * the slot has not.
 */
async function moveHalfWay(
  scene: ClusterScene,
): Promise<{ slot: number; from: Server; to: Server; replicas: readonly Server[] } | undefined> {
  const { deployment } = scene;
  const { master: from, replicas } = await anyShard(scene);
  const to = await anotherMaster(scene, from);
  const slots = await slotsOf(scene, from, 3);
  const slot = slots.pop();
  if (slot === undefined) return undefined;
  for (const each of slots) await deployment.move(each, to);
  await deployment.beginMove(slot, from, to);
  // The deletion of the moved keys must not reach the replicas.
  if (scene.random() < 0.5) await fallBehind(scene, from, replicas);
  await deployment.moveKeys(slot, from, to);
  return { slot, from, to, replicas };
}

/** Mends the shard after a fault: one master that gets the slots back, and replicas. */
async function giveBack(
  scene: ClusterScene,
  master: Server,
  from: Server,
  slots: readonly number[],
): Promise<void> {
  const { deployment } = scene;
  await until('the shard answers', async () => (await master.call('ping')) === 'PONG', 10_000).catch(
    () => {},
  );
  for (const slot of slots) {
    await deployment.beginMove(slot, from, master);
    await deployment.moveKeys(slot, from, master);
    await deployment.endMove(slot, master);
  }
  for (const server of deployment.shardOf(master))
    if (server !== master) await deployment.attach(server, master);
}

/** Mostly longer than any holder believes in a lock that was lost. */
function leases({ leaseTime, random }: ClusterScene): Promise<void> {
  return sleep(leaseTime * (0.6 + random()));
}

export const CLUSTER_FAULTS: readonly Fault<ClusterDeployment>[] = [
  { name: 'master killed', run: async (scene) => void (await kill(scene, false)) },
  { name: 'master killed, replicas lag', run: async (scene) => void (await kill(scene, true)) },
  {
    name: 'lagging replica promoted',
    async run(scene) {
      const { master, replicas } = await anyShard(scene);
      const [behind, ...others] = replicas as [Server, ...Server[]];
      await fallBehind(scene, master, [behind]);
      await Promise.all([master.kill(), ...others.map((other) => other.kill())]);
      await catchUp(scene, [behind]);
      await untilReplaced(scene, master);
      for (const other of others) other.start();
    },
  },
  {
    name: 'master frozen through the fail-over',
    async run(scene) {
      const { master } = await anyShard(scene);
      master.freeze();
      await untilReplaced(scene, master);
      await sleep(scene.random() * 2_000);
      master.thaw();
      await sleep(2_000);
    },
  },
  {
    name: 'master thawed while it is replaced',
    async run(scene) {
      const { master } = await anyShard(scene);
      master.freeze();
      await untilReplaced(scene, master);
      master.thaw();
      await sleep(2_500);
    },
  },
  {
    name: 'partition: master, a replica and some workers',
    needsPartition: true,
    async run(scene) {
      const { deployment, hosts, workerHosts } = scene;
      const { master, replicas } = await anyShard(scene);
      const half = Math.ceil(workerHosts.length / 2);
      const here = [master, replicas[0]!];
      const there = deployment.servers.filter((server) => !here.includes(server));
      await hosts.separate(
        here.map(({ host }) => host).concat(workerHosts.slice(0, half)),
        there.map(({ host }) => host).concat(workerHosts.slice(half)),
      );
      await sleep(5_500 + scene.random() * 3_000);
      await hosts.heal();
    },
  },
  {
    name: 'partition: master alone, all workers hear both sides',
    needsPartition: true,
    async run(scene) {
      const { deployment, hosts } = scene;
      const { master } = await anyShard(scene);
      const others = deployment.servers.filter((server) => server !== master);
      await hosts.separate(
        [master.host],
        others.map(({ host }) => host),
      );
      await untilReplaced(scene, master);
      await sleep(1_500 + scene.random() * 2_000);
      await hosts.heal();
    },
  },
  {
    name: 'replica frozen',
    async run(scene) {
      await freezeForAWhile(scene, pick(scene, (await anyShard(scene)).replicas));
    },
  },
  {
    name: 'master restarts at once, empty',
    async run(scene) {
      await restartAtOnce(scene, (await anyShard(scene)).master);
    },
  },
  {
    name: 'connections cut',
    async run(scene) {
      await cutConnections(scene, async () => (await anyShard(scene)).master);
    },
  },
  {
    name: 'CLUSTER FAILOVER',
    async run(scene) {
      const { master, replicas } = await anyShard(scene);
      await pick(scene, replicas).call('cluster', 'failover');
      await untilReplaced(scene, master);
    },
  },
  {
    name: 'CLUSTER FAILOVER TAKEOVER by a lagging replica',
    async run(scene) {
      const { master, replicas } = await anyShard(scene);
      const behind = pick(scene, replicas);
      await fallBehind(scene, master, [behind]);
      await behind.call('cluster', 'failover', 'takeover');
      await catchUp(scene, [behind]);
      await untilReplaced(scene, master);
    },
  },
  {
    name: 'slots move',
    async run(scene) {
      const { master } = await anyShard(scene);
      const to = await anotherMaster(scene, master);
      for (const slot of await slotsOf(scene, master)) await scene.deployment.move(slot, to);
    },
  },
  {
    name: 'slots move right after a fail-over that lost locks',
    async run(scene) {
      const successor = await kill(scene, true);
      const to = await anotherMaster(scene, successor);
      for (const slot of await slotsOf(scene, successor)) await scene.deployment.move(slot, to);
    },
  },
  {
    name: 'source killed while a slot moves, and the move is called off',
    async run(scene) {
      const half = await moveHalfWay(scene);
      if (half === undefined) return;
      await half.from.kill();
      await catchUp(scene, half.replicas);
      await untilReplaced(scene, half.from);
      await half.to.call('cluster', 'setslot', half.slot, 'stable');
    },
  },
  {
    name: 'source killed while a slot moves, and the move goes on',
    async run(scene) {
      const { deployment } = scene;
      const half = await moveHalfWay(scene);
      if (half === undefined) return;
      await half.from.kill();
      await catchUp(scene, half.replicas);
      const successor = await untilReplaced(scene, half.from);
      await half.to.call('cluster', 'setslot', half.slot, 'stable');
      await deployment.beginMove(half.slot, successor, half.to);
      await deployment.moveKeys(half.slot, successor, half.to);
      await deployment.endMove(half.slot, half.to);
    },
  },
  {
    name: 'target killed while a slot moves',
    async run(scene) {
      const { deployment } = scene;
      const half = await moveHalfWay(scene);
      if (half === undefined) return;
      await half.to.kill();
      await catchUp(scene, half.replicas);
      const successor = await untilReplaced(scene, half.to);
      // The keys that had moved may or may not have reached the new master.
      await deployment.beginMove(half.slot, half.from, successor);
      await deployment.moveKeys(half.slot, half.from, successor);
      await deployment.endMove(half.slot, successor);
    },
  },
  {
    name: 'two fail-overs in a row',
    async run(scene) {
      const successor = await kill(scene, scene.random() < 0.5);
      await sleep(scene.random() * 1_500);
      await successor.kill();
      await untilReplaced(scene, successor);
    },
  },
  {
    name: 'worker killed while slots move',
    async run(scene) {
      const { master } = await anyShard(scene);
      const to = await anotherMaster(scene, master);
      const worker = pick(scene, scene.workers);
      for (const [i, slot] of (await slotsOf(scene, master)).entries()) {
        await scene.deployment.move(slot, to);
        if (i !== 3) continue;
        await worker.kill();
        scene.checker.workerDied(scene.workers.indexOf(worker), now());
        worker.start();
      }
      await sleep(1_000);
    },
  },
  {
    name: 'emptied master gives its last slots away',
    async run(scene) {
      const { deployment } = scene;
      const master = await deployment.masterOf(deployment.smallShard);
      const to = await anotherMaster(scene, master);
      const slots = await deployment.slotsOf(master);
      await master.kill();
      master.start();
      await until('it answers', async () => (await master.call('ping')) === 'PONG', 10_000);
      await deployment.give(slots, master, to);
      await leases(scene);
      await giveBack(scene, master, to, slots);
    },
  },
  {
    name: 'lagging replica takes over from a cut-off master, and gives its last slots away',
    needsPartition: true,
    async run(scene) {
      const { deployment, hosts, workerHosts, random } = scene;
      const { smallShard } = deployment;
      const master = await deployment.masterOf(smallShard);
      const [behind, other] = smallShard.filter((server) => server !== master) as [Server, Server];
      const to = await anotherMaster(scene, master);
      const slots = await deployment.slotsOf(master);
      await fallBehind(scene, master, [behind]);
      // Cut off alone with some workers, or with a replica that goes on to confirm.
      const here = [master, ...(random() < 0.5 ? [other] : [])];
      const there = deployment.servers.filter((server) => !here.includes(server));
      await hosts.separate(
        here.map(({ host }) => host).concat(workerHosts.slice(0, 2)),
        there.map(({ host }) => host).concat(workerHosts.slice(2)),
      );
      await behind.call('cluster', 'failover', 'takeover');
      await until('it has taken over', async () => (await deployment.slotsOf(behind)).length > 0, 5_000);
      await deployment.give(slots, behind, to);
      await leases(scene);
      await hosts.heal();
      await giveBack(scene, behind, to, slots);
    },
  },
  {
    name: 'former replica is given slots of its shard',
    async run(scene) {
      const { deployment, random } = scene;
      const { master, replicas } = await anyShard(scene);
      const former = pick(scene, replicas);
      const slots = await slotsOf(scene, master, 3);
      await deployment.detach(former);
      if (random() < 0.5) {
        await master.kill();
        master.start();
        await until('it answers', async () => (await master.call('ping')) === 'PONG', 10_000);
        await deployment.give(slots, master, former);
      } else for (const slot of slots) await deployment.move(slot, former);
      await leases(scene);
      for (const slot of slots) {
        await deployment.beginMove(slot, former, master);
        await deployment.moveKeys(slot, former, master);
        await deployment.endMove(slot, master);
      }
      await deployment.attach(former, master);
    },
  },
  {
    name: 'atomic slot migration, and the target hangs',
    async run(scene) {
      const { deployment, random } = scene;
      const { master } = await anyShard(scene);
      const to = await anotherMaster(scene, master);
      for (const slot of await slotsOf(scene, master, 4)) {
        const answer = await master.call(
          'cluster',
          'migrateslots',
          'slotsrange',
          slot,
          slot,
          'node',
          deployment.idOf(to),
        );
        // Only Valkey 9 has this command.
        if (answer !== 'OK') return;
        await sleep(random() * 150);
        if (random() < 0.5) continue;
        to.freeze();
        // The source goes on after 10 s. If the other masters waited less, they would replace the
        // target before that.
        await sleep(random() < 0.3 ? 11_000 : random() * 1_000);
        to.thaw();
      }
    },
  },
  {
    name: 'CLUSTER FAILOVER beside a frozen replica',
    async run(scene) {
      const { master, replicas } = await anyShard(scene);
      const [frozen, successor] = replicas as [Server, Server];
      frozen.freeze();
      await sleep(scene.random() * 500);
      await successor.call('cluster', 'failover');
      await untilReplaced(scene, master);
      frozen.thaw();
    },
  },
  {
    name: 'writes paused beside a frozen replica',
    isMild: true,
    async run(scene) {
      const { master, replicas } = await anyShard(scene);
      await pauseWritesBeside(scene, master, replicas[0]!);
    },
  },
];
