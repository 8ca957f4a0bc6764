import { setTimeout as sleep } from 'node:timers/promises';
import type { Setup } from './deployment.js';
import { pick, type Fault, type Scene } from './fault.js';
import type { Server } from './server.js';

/** The master and replicas that a fault finds. */
export interface Shard {
  readonly master: Server;
  readonly replicas: readonly Server[];
  /** Waits until a server other than `old` is the master, and returns the master. */
  successorOf(old: Server): Promise<Server>;
}

/**
 * Keeps the replicas from hearing their master. A frozen process still reads what the socket holds,
 * so a partition is better, if the campaign can make one.
 */
export async function fallBehind(
  { hosts, random }: Pick<Scene, 'hosts' | 'random'>,
  master: Server,
  replicas: readonly Server[],
): Promise<void> {
  if (hosts.canPartition)
    await hosts.separate(
      [master.host],
      replicas.map((replica) => replica.host),
    );
  else for (const replica of replicas) replica.freeze();
  await sleep(200 + random() * 500);
}

export async function catchUp({ hosts }: Pick<Scene, 'hosts'>, replicas: readonly Server[]): Promise<void> {
  await hosts.heal();
  for (const replica of replicas) if (replica.isFrozen) replica.thaw();
}

/** CLIENT PAUSE, again and again, for at most `longest` ms each. */
export async function pauseOften(
  scene: Pick<Scene, 'random'>,
  server: Server,
  kinds: readonly ('WRITE' | 'ALL')[],
  longest: number,
  times = 6,
): Promise<void> {
  for (let i = 0; i < times; i++) {
    await server.call('client', 'pause', Math.ceil(scene.random() * longest), pick(scene, kinds));
    await sleep(longest + scene.random() * longest);
  }
}

/** Pauses writes while a replica is frozen: the library ends a WAIT just when a pause begins. */
async function pauseWritesBeside(scene: Pick<Scene, 'random'>, { master, replicas }: Shard): Promise<void> {
  const replica = pick(scene, replicas);
  replica.freeze();
  await pauseOften(scene, master, ['WRITE'], 60, 25);
  replica.thaw();
}

export async function freezeForAWhile({ random }: Pick<Scene, 'random'>, replica: Server): Promise<void> {
  replica.freeze();
  await sleep(1_000 + random() * 3_000);
  replica.thaw();
}

/** The master restarts before any server notices: empty, or with the saved data. */
export async function restartAtOnce({ leaseTime }: Pick<Scene, 'leaseTime'>, master: Server): Promise<void> {
  await master.kill();
  master.start();
  await sleep(leaseTime);
}

/** Ends connections 12 times, each time those of the master that `masterOf` names. */
export async function cutConnections(
  scene: Pick<Scene, 'random'>,
  masterOf: () => Server | Promise<Server>,
): Promise<void> {
  for (let i = 0; i < 12; i++) {
    const master = await masterOf();
    await master.call('client', 'kill', 'type', pick(scene, ['normal', 'pubsub']), 'skipme', 'yes');
    await sleep(scene.random() * 120);
  }
}

/** Kills the master, perhaps with replicas that have not heard the last writes. */
export async function killMaster(
  scene: Pick<Scene, 'hosts' | 'random'>,
  { master, replicas, successorOf }: Shard,
  isLagging: boolean,
): Promise<Server> {
  if (isLagging) await fallBehind(scene, master, replicas);
  await master.kill();
  await catchUp(scene, replicas);
  return successorOf(master);
}

async function failOverTwice(scene: Pick<Scene, 'hosts' | 'random'>, shard: Shard): Promise<void> {
  const successor = await killMaster(scene, shard, scene.random() < 0.5);
  await sleep(scene.random() * 1_500);
  await successor.kill();
  await shard.successorOf(successor);
}

/** Leaves only a replica that has not heard the last writes. */
async function promoteLagging(
  scene: Pick<Scene, 'hosts' | 'random'>,
  { master, replicas, successorOf }: Shard,
): Promise<void> {
  const [behind, ...others] = replicas as [Server, ...Server[]];
  await fallBehind(scene, master, [behind]);
  await Promise.all([master.kill(), ...others.map((other) => other.kill())]);
  await catchUp(scene, [behind]);
  await successorOf(master);
  for (const other of others) other.start();
}

async function freezeThroughFailOver(
  { random }: Pick<Scene, 'random'>,
  { master, successorOf }: Shard,
): Promise<void> {
  master.freeze();
  await successorOf(master);
  await sleep(random() * 2_000);
  master.thaw();
  await sleep(2_000);
}

/** Separates these servers and the first workers from all other servers and workers. */
export async function splitOff(
  { deployment, hosts, workerHosts }: Pick<Scene<Setup>, 'deployment' | 'hosts' | 'workerHosts'>,
  here: readonly Server[],
  workers: number,
): Promise<void> {
  const there = deployment.programs.filter((server) => !here.includes(server));
  await hosts.separate(
    [...here.map(({ host }) => host), ...workerHosts.slice(0, workers)],
    [...there.map(({ host }) => host), ...workerHosts.slice(workers)],
  );
}

/** The master, a replica and half of the workers are on one side. */
async function splitMastersSide(scene: Scene<Setup>, { master, replicas }: Shard): Promise<void> {
  await splitOff(scene, [master, replicas[0]!], Math.ceil(scene.workerHosts.length / 2));
  // Longer than repl-timeout: the master drops the replicas on the other side.
  await sleep(5_500 + scene.random() * 3_000);
  await scene.hosts.heal();
}

/** Faults of one master and its replicas, in any deployment. `shardOf` finds the master for one fault. */
export function shardFaults<D extends Setup>(shardOf: (scene: Scene<D>) => Promise<Shard>): Fault<D>[] {
  return [
    {
      name: 'master killed',
      run: async (scene) => void (await killMaster(scene, await shardOf(scene), false)),
    },
    {
      name: 'master killed, replicas lag',
      run: async (scene) => void (await killMaster(scene, await shardOf(scene), true)),
    },
    {
      name: 'lagging replica promoted',
      run: async (scene) => promoteLagging(scene, await shardOf(scene)),
    },
    {
      name: 'master frozen through the fail-over',
      run: async (scene) => freezeThroughFailOver(scene, await shardOf(scene)),
    },
    {
      name: 'partition: master, a replica and some workers',
      needsPartition: true,
      run: async (scene) => splitMastersSide(scene, await shardOf(scene)),
    },
    {
      name: 'master restarts at once, empty',
      run: async (scene) => restartAtOnce(scene, (await shardOf(scene)).master),
    },
    {
      name: 'two fail-overs in a row',
      run: async (scene) => failOverTwice(scene, await shardOf(scene)),
    },
    {
      name: 'writes paused beside a frozen replica',
      isMild: true,
      run: async (scene) => pauseWritesBeside(scene, await shardOf(scene)),
    },
  ];
}
