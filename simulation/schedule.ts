import { freeze, type NamedFault } from './fault.js';
import { FAULTS } from './faults.js';
import { Judge } from './judge.js';
import { MILD_FAULTS } from './mild-faults.js';
import { CALM_LAG, CALM_SYNC } from './replication.js';
import {
  ALONE_KEYS,
  IDLE_TIMEOUT,
  LEASE,
  LIMITS,
  LONG_KEY,
  REPLICA_TIMEOUT,
  setScene,
  SHARED_KEYS,
  type Scene,
  type Worker,
} from './scene.js';
import { Dice, SimWorld } from './world.js';

/** ms of virtual time in which faults occur, and in which everything must work again. */
const TROUBLE = 9_000;
const RECOVERY = 11_000;
/** ms after the faults in which the processes go on taking locks. */
const AFTERMATH = 5_500;
/** ms without requests, so that idle connections are closed. */
const QUIET = IDLE_TIMEOUT + 3_000;
/** ms for a fault and the recovery in a mild schedule. */
const MILD_TIME = 2_900;
/**
 * ms that a process waits for a lock that no other process asks for: longer than any fault without
 * an excuse can last.
 */
const OWN_WAIT_TIME = 1_500;

/** Requests at once: enough for a second group beside the group in flight. */
const RUSH_SIZE = 33;

/** Whether the processes also stand for an election, and run work once. */
const KINDS = [
  [false, false],
  [false, false],
  [true, false],
  [false, true],
] as const;

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly string[];
  /** The history is made only when a caller asks. */
  readonly history: () => readonly string[];
  readonly grants: number;
}

/**
 * Runs one schedule: the real library in a few processes against simulated servers, with faults and
 * delays that the seed decides. `only` keeps the faults whose names contain these words.
 */
export async function runSchedule(seed: number, only = ''): Promise<Outcome> {
  const dice = new Dice(seed);
  // The library's own jitter is part of the schedule.
  Math.random = () => dice.next();
  const world = new SimWorld(dice);
  const scene = setScene(world);
  const { weather, workers, servers } = scene;
  const judge = new Judge(scene);
  const check = (): void => judge.check();
  let isTroubled = true;
  const goesOn = (): boolean => isTroubled;
  const [hasElection, hasOnce] = dice.pick(KINDS);
  for (const worker of workers) {
    worker.service.open();
    for (let i = 0; i < 2; i++) void work(scene, worker, judge, goesOn);
    if (weather.isMild) void workAlone(scene, worker, judge, goesOn);
    if (hasElection) void judge.elections.take(worker, goesOn);
    if (hasOnce) void judge.onceRuns.take(worker, goesOn);
  }
  scene.rush = (ms) => void rush(scene, dice.pick(workers), judge, world.now + ms);
  if (weather.isMild) bringMildTrouble(scene, only);
  else bringTrouble(scene, only);
  await world.runUntil(TROUBLE, check);

  // --- everything is mended
  scene.network.heal();
  scene.network.loss = 0;
  const syncTime = Math.max(...servers.map(({ style }) => style.syncTime));
  for (const worker of workers) void judge.checkFirstLock(worker, syncTime);
  for (const server of servers) {
    server.style.lag = CALM_LAG;
    server.style.syncTime = CALM_SYNC;
    server.isFull = false;
  }
  for (const host of [...servers, ...scene.sentinels, ...workers.map((worker) => worker.host)]) host.thaw();
  await world.runUntil(TROUBLE + AFTERMATH, check);
  isTroubled = false;
  const quiet = weather.servers.idleTimeout === Infinity ? 0 : QUIET;
  await world.runUntil(TROUBLE + RECOVERY + quiet, check);
  await judge.checkRecovery(TROUBLE + RECOVERY + quiet);
  await judge.checkEnd();
  return { seed, violations: judge.violations, history: () => world.history, grants: judge.grants };
}

function those(faults: readonly NamedFault[], only: string): readonly NamedFault[] {
  return faults.filter(({ name }) => name.includes(only));
}

function bringTrouble(scene: Scene, only: string): void {
  const { world, network, nemesis, weather } = scene;
  const { dice } = world;
  for (let i = 0, faults = dice.pick([1, 2, 2, 3, 4]); i < faults; i++) {
    const fault = dice.pick(those(FAULTS, only));
    world.happen(dice.between(200, TROUBLE * 0.7), nemesis, () => fault.run(scene));
  }
  const nowAndThen = (every: number, happens: () => void): void => {
    if (every === Infinity) return;
    world.happen(dice.between(0.2, 1.8) * every, nemesis, () => {
      if (world.now >= TROUBLE) return;
      happens();
      nowAndThen(every, happens);
    });
  };
  nowAndThen(weather.cutEvery, () => {
    const connections = [...network.connections];
    if (connections.length > 0) dice.pick(connections).cut();
  });
  nowAndThen(weather.stutterEvery, () =>
    freeze(scene, dice.pick(scene.workers).host, dice.between(50, 2_500)),
  );
}

/** One fault after the other. Each is mended before the next. */
function bringMildTrouble(scene: Scene, only: string): void {
  const { world, nemesis } = scene;
  const { dice } = world;
  const faults = those(MILD_FAULTS, only);
  if (faults.length === 0) return;
  // Locks are taken once the processes are connected.
  for (let at = 300; at + MILD_TIME <= TROUBLE;) {
    const fault = dice.pick(faults);
    world.happen(at + dice.between(0, 300), nemesis, () => fault.run(scene));
    at += MILD_TIME * fault.length;
  }
}

/** Takes, holds and releases locks while `goesOn` returns true. */
async function work(scene: Scene, worker: Worker, judge: Judge, goesOn: () => boolean): Promise<void> {
  const { world } = scene;
  const { dice } = world;
  const { host, service } = worker;
  while (goesOn()) {
    const isShared = dice.chance(0.5);
    const all = isShared ? SHARED_KEYS : ALONE_KEYS;
    const keys = dice.chance(0.2) ? all : [dice.pick(all)];
    const limit = isShared ? dice.pick(LIMITS) : 1;
    const asked = host.monotonic();
    const waitTime = dice.pick([0, 0, 300, 800]);
    const isRenewed = dice.chance(0.7);
    const askedAt = world.now;
    try {
      const lock = await service.acquire(keys, { limit, waitTime, renew: isRenewed });
      judge.granted(worker, lock, isRenewed);
      await sleep(host, dice.chance(0.5) ? dice.between(1, 60) : dice.between(200, 4_500));
      await judge.release(worker, lock);
    } catch (error) {
      // In an unmild schedule every kind of error may occur.
      judge.refused(worker, keys, error, askedAt, false);
    }
    // The longest work, and a release that is never answered.
    judge.ended(host.monotonic() - asked, waitTime + REPLICA_TIMEOUT + 1_000 + 5_000 + 6_000);
    for (const key of scene.strayKeys)
      if (dice.chance(0.3)) void tryIn(scene, worker, judge, key, key === LONG_KEY ? 20 * LEASE : LEASE);
    await sleep(host, dice.between(1, 40));
  }
}

/** A request that may be refused, and must not disturb any other request. */
async function tryIn(
  { world }: Scene,
  worker: Worker,
  judge: Judge,
  key: string,
  leaseTime: number,
): Promise<void> {
  const askedAt = world.now;
  try {
    const limit = world.dice.pick(LIMITS);
    const lock = await worker.service.acquire(key, { limit, waitTime: 0, leaseTime, renew: false });
    judge.granted(worker, lock, false);
    await judge.release(worker, lock);
  } catch (error) {
    judge.refused(worker, [key], error, askedAt, false);
  }
}

/**
 * Asks for dozens of locks at once, and for dozens more while these are being confirmed, again and
 * again.
 */
async function rush(scene: Scene, worker: Worker, judge: Judge, until: number): Promise<void> {
  const { world } = scene;
  const { dice } = world;
  for (let burst = 0; world.now < until; burst++) {
    for (let i = 0; i < RUSH_SIZE; i++)
      void tryIn(scene, worker, judge, `rush-${worker.host.name}-${burst % 2}-${i}`, LEASE);
    await sleep(worker.host, burst % 2 === 0 ? dice.between(1, 6) : dice.between(100, 400));
  }
}

/** The same with a lock that no other process asks for, and that must be granted. */
async function workAlone(
  { world }: Scene,
  worker: Worker,
  judge: Judge,
  goesOn: () => boolean,
): Promise<void> {
  const { dice } = world;
  const { host, service } = worker;
  const key = `own-${host.name}`;
  while (goesOn()) {
    const askedAt = world.now;
    try {
      const lock = await service.acquire(key, { limit: dice.pick(LIMITS), waitTime: OWN_WAIT_TIME });
      judge.granted(worker, lock, true);
      await sleep(host, dice.chance(0.7) ? dice.between(1, 60) : dice.between(200, 2_500));
      await judge.release(worker, lock);
    } catch (error) {
      judge.refused(worker, [key], error, askedAt, true);
    }
    await sleep(host, dice.between(10, 200));
  }
}

function sleep(host: Worker['host'], ms: number): Promise<void> {
  return new Promise((resolve) => host.after(ms, resolve));
}
