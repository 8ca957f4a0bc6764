import { setTimeout as sleep } from 'node:timers/promises';
import { now } from './events.js';
import { pick, type Fault, type Scene } from './fault.js';
import type { Server } from './server.js';
import {
  catchUp,
  cutConnections,
  fallBehind,
  freezeForAWhile,
  pauseOften,
  restartAtOnce,
  shardFaults,
  splitOff,
  type Shard,
} from './shard-faults.js';
import { until } from './until.js';

async function untilPromoted(scene: Scene, old: Server): Promise<void> {
  const { deployment } = scene;
  await until('another master is in charge', async () => (await deployment.master()) !== old, 20_000).then(
    () => (scene.promotedAt = now()),
    () => {},
  );
}

async function shardOf(scene: Scene): Promise<Shard> {
  const { deployment } = scene;
  return {
    master: await deployment.master(),
    replicas: await deployment.replicas(),
    async successorOf(old) {
      await untilPromoted(scene, old);
      return deployment.master();
    },
  };
}

async function restartMaster(scene: Scene, snapshot: boolean): Promise<void> {
  const master = await scene.deployment.master();
  if (snapshot) {
    await master.call('save');
    await sleep(scene.leaseTime * 0.6);
  }
  await restartAtOnce(scene, master);
  // The next restart begins without data again.
  if (snapshot) await master.call('config', 'set', 'dbfilename', `dump-${Math.floor(now())}.rdb`);
}

/** FAILOVER pauses writes until the replica has everything, then swaps the roles. */
async function handOver(from: Server, to: Server): Promise<void> {
  await from.call('failover', 'to', to.host.ip, to.port, 'timeout', 3_000);
  await until(
    'the replica is the master',
    async () => (await to.info()).get('role') === 'master',
    5_000,
  ).catch(() => {});
}

export const FAULTS: readonly Fault[] = [
  ...shardFaults(shardOf),
  {
    name: 'lagging replica preferred',
    async run(scene) {
      const master = await scene.deployment.master();
      const behind = pick(scene, await scene.deployment.replicas());
      await behind.call('config', 'set', 'replica-priority', 10);
      await sleep(1_500);
      await fallBehind(scene, master, [behind]);
      await master.kill();
      await catchUp(scene, [behind]);
      await untilPromoted(scene, master);
      await behind.call('config', 'set', 'replica-priority', 100);
    },
  },
  {
    name: 'master thawed while replicas are being moved',
    async run(scene) {
      const master = await scene.deployment.master();
      const replicas = await scene.deployment.replicas();
      master.freeze();
      await until(
        'a replica is promoted',
        async () => {
          const infos = await Promise.all(replicas.map((replica) => replica.info()));
          return infos.some((info) => info.get('role') === 'master');
        },
        20_000,
      ).catch(() => {});
      master.thaw();
      await sleep(2_500);
    },
  },
  {
    name: 'partition: master alone with some workers',
    needsPartition: true,
    async run(scene) {
      await splitOff(scene, [await scene.deployment.master()], 2);
      await sleep(5_500 + scene.random() * 2_000);
      await scene.hosts.heal();
    },
  },
  {
    name: 'false alarm: only the Sentinels do not hear the master',
    needsPartition: true,
    async run(scene) {
      const { deployment, hosts } = scene;
      const master = await deployment.master();
      await hosts.separate(
        [master.host],
        deployment.sentinels.map((sentinel) => sentinel.host),
      );
      await untilPromoted(scene, master);
      await sleep(1_500 + scene.random() * 2_000);
      await hosts.heal();
    },
  },
  {
    name: 'replica frozen',
    isMild: true,
    async run(scene) {
      await freezeForAWhile(scene, pick(scene, await scene.deployment.replicas()));
    },
  },
  {
    name: 'all replicas frozen',
    async run(scene) {
      const replicas = await scene.deployment.replicas();
      for (const replica of replicas) replica.freeze();
      await sleep(1_000 + scene.random() * 2_000);
      for (const replica of replicas) replica.thaw();
    },
  },
  {
    name: 'replica dies and returns empty',
    async run(scene) {
      const replica = pick(scene, await scene.deployment.replicas());
      await replica.kill();
      await sleep(scene.random() * 1_500);
      replica.start();
      await replica.call('replicaof', (await scene.deployment.master()).host.ip, 6379);
    },
  },
  { name: 'master restarts at once, from an older snapshot', run: (scene) => restartMaster(scene, true) },
  {
    // The other workers only found the holder's locks busy, and do not remember them.
    name: 'master restarts at once, empty, while a holder is cut off',
    needsPartition: true,
    async run(scene) {
      const { deployment, hosts, workerHosts } = scene;
      const allServers = [...deployment.servers, ...deployment.sentinels].map((server) => server.host);
      await hosts.separate([pick(scene, workerHosts)], allServers);
      await restartMaster(scene, false);
      await hosts.heal();
    },
  },
  {
    name: 'connections cut',
    async run(scene) {
      const master = await scene.deployment.master();
      await cutConnections(scene, () => master);
    },
  },
  {
    name: "connections cut between SET's and WAIT's answers",
    async run(scene) {
      const master = await scene.deployment.master();
      const replicas = await scene.deployment.replicas();
      for (let i = 0; i < 6; i++) {
        // No replica acknowledges, so a write waits for a confirmation when the connection is cut.
        for (const replica of replicas) replica.freeze();
        await sleep(50 + scene.random() * 200);
        await master.call('client', 'kill', 'type', 'normal', 'skipme', 'yes');
        await sleep(scene.random() * 200);
        for (const replica of replicas) replica.thaw();
        await sleep(200 + scene.random() * 300);
      }
    },
  },
  {
    name: 'worker frozen past its lease',
    async run(scene) {
      const worker = pick(scene, scene.workers);
      worker.freeze();
      await sleep(scene.leaseTime * 1.3);
      worker.thaw();
      await sleep(300);
    },
  },
  {
    name: 'worker killed',
    async run(scene) {
      const worker = pick(scene, scene.workers);
      await worker.kill();
      scene.checker.workerDied(scene.workers.indexOf(worker), now());
      worker.start();
      await sleep(1_500);
    },
  },
  {
    name: 'held keys deleted',
    async run(scene) {
      const master = await scene.deployment.master();
      for (const { key, id } of scene.checker.current('replica', now()).slice(0, 5)) {
        const name = `lock:${key}`;
        // Only while this holder has the key, or its part of a key with several holders.
        const script =
          "local value = redis.pcall('get', KEYS[1]) " +
          "if type(value) == 'table' then return redis.call('hdel', KEYS[1], string.sub(ARGV[1], 1, -2)) end " +
          "if string.find(value or '', ARGV[1], 1, true) == 1 then return redis.call('del', KEYS[1]) end return 0";
        const before = now();
        if ((await master.call('eval', script, 1, name, `${id} `)) === '1')
          scene.checker.keyDeleted(key, id, before, now());
        await sleep(50);
      }
    },
  },
  {
    name: 'fail-over by command',
    async run(scene) {
      const master = await scene.deployment.master();
      await scene.deployment.sentinels[0]!.call('sentinel', 'failover', 'mymaster');
      await untilPromoted(scene, master);
    },
  },
  {
    name: 'clients paused',
    isMild: true,
    async run(scene) {
      await pauseOften(scene, await scene.deployment.master(), ['WRITE', 'WRITE', 'ALL'], 600);
    },
  },
  {
    name: 'FAILOVER to a replica and back',
    async run(scene) {
      const master = await scene.deployment.master();
      const replica = pick(scene, await scene.deployment.replicas());
      await handOver(master, replica);
      await sleep(scene.random() * 2_500);
      // The Sentinels did not hear of the change. The old master must be back before the Sentinels
      // declare that master lost.
      await handOver(replica, master);
    },
  },
  {
    name: 'busy workers',
    isMild: true,
    async run(scene) {
      for (const worker of scene.workers.slice(0, 2)) worker.signal('SIGUSR2');
      await sleep(8_000);
    },
  },
  {
    name: 'memory full',
    isMild: true,
    async run(scene) {
      const master = await scene.deployment.master();
      await master.call('config', 'set', 'maxmemory', 1);
      // Longer than a lock lives without renewals.
      await sleep(scene.leaseTime * (1 + scene.random() * 0.3));
      await master.call('config', 'set', 'maxmemory', 0);
    },
  },
  {
    name: 'scripts flushed',
    isMild: true,
    async run(scene) {
      const master = await scene.deployment.master();
      for (let i = 0; i < 10; i++) {
        await master.call('script', 'flush');
        await sleep(scene.random() * 200);
      }
    },
  },
];
