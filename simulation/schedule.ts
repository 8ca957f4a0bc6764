import type { Lock } from '../lib/lock/lock.js';
import { FAULTS, freeze } from './faults.js';
import { REPLICA_TIMEOUT, setScene, type Scene, type Worker } from './scene.js';
import { CALM_LAG } from './server.js';
import { Dice, SimWorld } from './world.js';

/** ms of virtual time in which things go wrong, and in which they must have become right again. */
const TROUBLE = 9_000;
const RECOVERY = 11_000;
/** ms after its faults in which the processes go on taking locks. */
const AFTERMATH = 5_500;

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly string[];
  /** Made where it is read. */
  readonly history: () => readonly string[];
  readonly grants: number;
}

/** One schedule: the real library in a few processes against simulated servers, with faults and delays that the seed decides. */
export async function runSchedule(seed: number): Promise<Outcome> {
  const dice = new Dice(seed);
  // The library's own jitter is part of the schedule.
  Math.random = () => dice.next();
  const world = new SimWorld(dice);
  const scene = setScene(world);
  const judge = new Judge(scene);
  const check = (): void => judge.check();
  let isTroubled = true;
  for (const worker of scene.workers) {
    worker.service.open();
    for (let i = 0; i < 2; i++) void work(scene, worker, judge, () => isTroubled);
  }
  bringTrouble(scene);
  await world.runUntil(TROUBLE, check);

  // --- and it becomes right again
  scene.network.heal();
  scene.network.loss = 0;
  for (const server of scene.servers) server.lag = CALM_LAG;
  for (const host of [...scene.servers, ...scene.workers.map((worker) => worker.host)]) host.thaw();
  await world.runUntil(TROUBLE + AFTERMATH, check);
  isTroubled = false;
  await world.runUntil(TROUBLE + RECOVERY, check);
  await judge.checkRecovery(TROUBLE + RECOVERY);
  await judge.checkEnd();
  return { seed, violations: judge.violations, history: () => world.history, grants: judge.grants };
}

function bringTrouble(scene: Scene): void {
  const { world, network, nemesis, weather } = scene;
  const { dice } = world;
  for (let i = 0, faults = dice.pick([1, 2, 2, 3, 4]); i < faults; i++) {
    const fault = dice.pick(FAULTS);
    world.happen(dice.between(200, TROUBLE * 0.7), nemesis, () => fault(scene));
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

/** Takes, holds and gives back locks, for as long as it is told to. */
async function work({ world }: Scene, worker: Worker, judge: Judge, goesOn: () => boolean): Promise<void> {
  const { dice } = world;
  const { host, service } = worker;
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => host.after(ms, resolve));
  while (goesOn()) {
    const keys = dice.chance(0.2) ? ['a', 'b'] : [dice.pick(['a', 'b'])];
    const asked = host.monotonic();
    const waitTime = dice.pick([0, 0, 300, 800]);
    try {
      const lock = await service.acquire(keys, { waitTime, renew: dice.chance(0.7) });
      judge.granted(worker, lock);
      await sleep(dice.chance(0.5) ? dice.between(1, 60) : dice.between(200, 4_500));
      world.tell(host.name, `releases ${keys.join('+')} (${lock.held ? 'held' : 'lost'})`);
      worker.held.delete(lock);
      await lock.release().catch(() => false);
    } catch {
      // Refused: what else could happen in trouble.
    }
    // The longest work, and a release that nobody answers.
    judge.ended(host.monotonic() - asked, waitTime + REPLICA_TIMEOUT + 1_000 + 5_000 + 6_000);
    await sleep(dice.between(1, 40));
  }
}

/** What must hold, whatever happens. */
class Judge {
  private readonly found = new Set<string>();
  private readonly lastToken = new Map<string, number>();
  grants = 0;

  constructor(private readonly scene: Scene) {}

  get violations(): string[] {
    return [...this.found];
  }

  granted(worker: Worker, lock: Lock): void {
    this.grants++;
    worker.held.add(lock);
    const { world } = this.scene;
    world.tell(
      worker.host.name,
      `holds ${lock.keys.join('+')} with ${lock.fencingToken}, confirmed by ${lock.confirmedBy}`,
    );
    for (const key of lock.keys) {
      const last = this.lastToken.get(key) ?? 0;
      if (lock.fencingToken <= last)
        this.violate(`token of ${key} did not grow: ${lock.fencingToken} after ${last}`);
      this.lastToken.set(key, Math.max(lock.fencingToken, last));
    }
  }

  /** An acquisition, its work and its release took `ms`. */
  ended(ms: number, bound: number): void {
    // A process that was frozen meanwhile has its excuse; the longest freeze is shorter than this.
    if (ms > bound + 6_000) this.violate(`an acquisition and its work took ${ms.toFixed(0)} ms`);
  }

  /** Two never hold one key. */
  check(): void {
    const holders = new Map<string, string>();
    for (const { host, held } of this.scene.workers) {
      for (const lock of held) {
        if (!lock.held) {
          held.delete(lock);
          continue;
        }
        for (const key of lock.keys) {
          const other = holders.get(key);
          if (other !== undefined) this.violate(`two hold ${key}: ${other} and ${host.name}`);
          holders.set(key, host.name);
        }
      }
    }
  }

  /** Everybody is granted a lock again, and no key is held by nobody. */
  async checkRecovery(from: number): Promise<void> {
    const { world, workers, servers, watch } = this.scene;
    const answer = { isRight: false };
    const last = workers.map(async ({ service, host }) => {
      const lock = await service.acquire(`last-${host.name}`, { waitTime: 9_000 });
      await lock.release();
    });
    void Promise.all(last).then(
      () => (answer.isRight = true),
      (error: unknown) => this.violate(`no lock after everything was mended: ${(error as Error).message}`),
    );
    for (let more = 500; more <= 14_000 && !answer.isRight; more += 500)
      await world.runUntil(from + more, () => this.check());
    if (!answer.isRight) {
      this.violate('a lock was neither granted nor refused after everything was mended');
      for (const server of servers) world.tell(server.name, server.description);
      for (const { host, service } of workers) world.tell(host.name, JSON.stringify(service.health()));
    }
    for (const key of ['a', 'b']) {
      const value = watch.master.valueAt(`lock:${key}`);
      const isHeld = workers.some(({ held }) => [...held].some((lock) => lock.keys.includes(key)));
      if (value?.startsWith('rl:') === true && !isHeld)
        this.violate(
          `${key} is held by nobody: ${value} for ${watch.master.pttl(`lock:${key}`).toFixed(0)} ms`,
        );
    }
  }

  /** After the close nothing is left: no timer, no message, no connection. */
  async checkEnd(): Promise<void> {
    const { world, workers, network } = this.scene;
    for (const { service } of workers) void service.close();
    await world.runUntil(world.now + 3_000, () => this.check());
    const left = world.pendingOf(workers.map(({ host }) => host));
    if (left > 0) this.violate(`${left} timers or messages are left after the close`);
    if (network.connections.size > 0)
      this.violate(`${network.connections.size} connections are left after the close`);
  }

  private violate(what: string): void {
    if (this.found.size < 5 && !this.found.has(what)) this.scene.world.tell('CHECK', what);
    this.found.add(what);
  }
}
