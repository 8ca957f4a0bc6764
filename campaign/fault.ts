import { setTimeout as sleep } from 'node:timers/promises';
import type { Checker } from './checker.js';
import type { Deployment, Setup } from './deployment.js';
import type { Host, Hosts } from './hosts.js';
import type { Program, Server } from './server.js';

/** What a fault may use and change. */
export interface Scene<D extends Setup = Deployment> {
  readonly deployment: D;
  readonly hosts: Hosts;
  readonly workers: readonly Program[];
  readonly workerHosts: readonly Host[];
  readonly checker: Checker;
  readonly leaseTime: number;
  /** When the last promotion was seen, within one fault. */
  promotedAt: number | undefined;
  /** From 0 to 1, by the campaign's seed. */
  random(): number;
}

/** A fault. Afterwards the campaign repairs all damage that is left. */
export interface Fault<D extends Setup = Deployment> {
  readonly name: string;
  readonly needsPartition?: boolean;
  /** The fault costs no lock that is granted meanwhile. */
  readonly isMild?: boolean;
  run(scene: Scene<D>): Promise<void>;
}

/** The master and replicas that a fault finds. */
export interface Shard {
  readonly master: Server;
  readonly replicas: readonly Server[];
  /** Waits until a server other than `old` is the master, and returns the master. */
  successorOf(old: Server): Promise<Server>;
}

// --- parts of faults, for a master and replicas of any deployment

export function pick<T>({ random }: Pick<Scene, 'random'>, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!;
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
export async function pauseWritesBeside(
  scene: Pick<Scene, 'random'>,
  master: Server,
  replica: Server,
): Promise<void> {
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

export async function failOverTwice(scene: Pick<Scene, 'hosts' | 'random'>, shard: Shard): Promise<void> {
  const successor = await killMaster(scene, shard, scene.random() < 0.5);
  await sleep(scene.random() * 1_500);
  await successor.kill();
  await shard.successorOf(successor);
}

/** Leaves only a replica that has not heard the last writes. */
export async function promoteLagging(
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

export async function freezeThroughFailOver(
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
export async function splitMastersSide(scene: Scene<Setup>, { master, replicas }: Shard): Promise<void> {
  await splitOff(scene, [master, replicas[0]!], Math.ceil(scene.workerHosts.length / 2));
  // Longer than repl-timeout: the master drops the replicas on the other side.
  await sleep(5_500 + scene.random() * 3_000);
  await scene.hosts.heal();
}
