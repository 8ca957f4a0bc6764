import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterDeployment } from './cluster-deployment.js';
import { anyShard } from './cluster-scene.js';
import { pick, type Fault } from './fault.js';
import type { Server } from './server.js';
import { catchUp, cutConnections, fallBehind, freezeForAWhile, shardFaults } from './shard-faults.js';
import { SLOT_FAULTS } from './slot-faults.js';

export const CLUSTER_FAULTS: readonly Fault<ClusterDeployment>[] = [
  ...shardFaults(anyShard),
  {
    name: 'master thawed while it is replaced',
    async run(scene) {
      const { master, successorOf } = await anyShard(scene);
      master.freeze();
      await successorOf(master);
      master.thaw();
      await sleep(2_500);
    },
  },
  {
    name: 'partition: master alone, all workers hear both sides',
    needsPartition: true,
    async run(scene) {
      const { deployment, hosts } = scene;
      const { master, successorOf } = await anyShard(scene);
      const others = deployment.servers.filter((server) => server !== master);
      await hosts.separate(
        [master.host],
        others.map(({ host }) => host),
      );
      await successorOf(master);
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
    name: 'connections cut',
    async run(scene) {
      await cutConnections(scene, async () => (await anyShard(scene)).master);
    },
  },
  {
    name: 'CLUSTER FAILOVER',
    async run(scene) {
      const { master, replicas, successorOf } = await anyShard(scene);
      await pick(scene, replicas).call('cluster', 'failover');
      await successorOf(master);
    },
  },
  {
    name: 'CLUSTER FAILOVER TAKEOVER by a lagging replica',
    async run(scene) {
      const { master, replicas, successorOf } = await anyShard(scene);
      const behind = pick(scene, replicas);
      await fallBehind(scene, master, [behind]);
      await behind.call('cluster', 'failover', 'takeover');
      await catchUp(scene, [behind]);
      await successorOf(master);
    },
  },
  {
    name: 'CLUSTER FAILOVER beside a frozen replica',
    async run(scene) {
      const { master, replicas, successorOf } = await anyShard(scene);
      const [frozen, successor] = replicas as [Server, Server];
      frozen.freeze();
      await sleep(scene.random() * 500);
      await successor.call('cluster', 'failover');
      await successorOf(master);
      frozen.thaw();
    },
  },
  ...SLOT_FAULTS,
];
