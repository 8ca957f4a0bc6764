import type { ClusterDeployment } from './cluster-deployment.js';
import { pick, type Scene } from './fault.js';
import type { Server } from './server.js';
import type { Shard } from './shard-faults.js';
import { until } from './until.js';

export type ClusterScene = Scene<ClusterDeployment>;

/** Waits until another server of the shard has replaced `old`, and returns the master. */
export async function successorOf({ deployment }: ClusterScene, old: Server): Promise<Server> {
  const shard = deployment.shardOf(old);
  await until(
    'another master is in charge',
    async () => (await deployment.masterOf(shard)) !== old,
    15_000,
  ).catch(() => {});
  return deployment.masterOf(shard);
}

/** One of the three shards. */
export async function anyShard(scene: ClusterScene): Promise<Shard> {
  const servers = scene.deployment.shard(pick(scene, [0, 1, 2]));
  const master = await scene.deployment.masterOf(servers);
  return {
    master,
    replicas: servers.filter((server) => server !== master),
    successorOf: (old) => successorOf(scene, old),
  };
}

export async function anotherMaster(scene: ClusterScene, than: Server): Promise<Server> {
  return pick(
    scene,
    (await scene.deployment.masters()).filter((master) => master !== than),
  );
}
