import { setTimeout as sleep } from 'node:timers/promises';
import { KEY_SLOTS, type ClusterDeployment } from './cluster-deployment.js';
import { anotherMaster, anyShard, successorOf, type ClusterScene } from './cluster-scene.js';
import { now } from './events.js';
import { pick, type Fault } from './fault.js';
import type { Server } from './server.js';
import { catchUp, fallBehind, killMaster, splitOff } from './shard-faults.js';
import { until } from './until.js';

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
 * Moves slots away from a master, and stops in the middle of the last slot: the keys have moved,
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

/** Faults of a Cluster while slots move. */
export const SLOT_FAULTS: readonly Fault<ClusterDeployment>[] = [
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
      const successor = await killMaster(scene, await anyShard(scene), true);
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
      await successorOf(scene, half.from);
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
      const successor = await successorOf(scene, half.from);
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
      const successor = await successorOf(scene, half.to);
      // The keys that had moved may or may not have reached the new master.
      await deployment.beginMove(half.slot, half.from, successor);
      await deployment.moveKeys(half.slot, half.from, successor);
      await deployment.endMove(half.slot, successor);
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
      const { deployment, hosts, random } = scene;
      const { smallShard } = deployment;
      const master = await deployment.masterOf(smallShard);
      const [behind, other] = smallShard.filter((server) => server !== master) as [Server, Server];
      const to = await anotherMaster(scene, master);
      const slots = await deployment.slotsOf(master);
      await fallBehind(scene, master, [behind]);
      // Cut off alone with some workers, or with a replica that goes on to confirm.
      await splitOff(scene, random() < 0.5 ? [master, other] : [master], 2);
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
];
