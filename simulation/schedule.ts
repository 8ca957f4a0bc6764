import { LockService } from '../lib/lock/lock-service.js';
import type { Lock } from '../lib/lock/lock.js';
import { RedisStore } from '../lib/store/redis/redis-store.js';
import { SimNetwork } from './network.js';
import { SimSentinel, SimSentinels } from './sentinel.js';
import { SimServer } from './server.js';
import { Dice, SimHost, SimWorld } from './world.js';

/** ms of virtual time in which things go wrong, and in which they must have become right again. */
const TROUBLE = 9_000;
const RECOVERY = 11_000;
const LEASE = 2_000;
const SKEW = 1_000;

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly string[];
  /** Made where it is read. */
  readonly history: () => readonly string[];
  readonly grants: number;
}

interface Worker {
  readonly host: SimHost;
  readonly service: LockService;
  readonly held: Set<Lock>;
}

/** One schedule: the real library in a few processes against simulated servers, with faults and delays that the seed decides. */
export async function runSchedule(seed: number): Promise<Outcome> {
  const dice = new Dice(seed);
  // The library's own jitter is part of the schedule.
  Math.random = () => dice.next();
  const world = new SimWorld(dice);
  const violations = new Set<string>();
  const violate = (what: string): void => {
    if (violations.size < 5 && !violations.has(what)) world.tell('CHECK', what);
    violations.add(what);
  };

  const targets = new Map<string, SimServer | SimSentinel>();
  const network = new SimNetwork(world, targets);
  const count = dice.pick([1, 2, 2, 3, 3]);
  const servers: SimServer[] = Array.from({ length: count + 1 }, (_, i): SimServer => {
    const address = `10.0.0.${i + 1}:6379`;
    const server: SimServer = new SimServer(
      world,
      `redis${i}`,
      address,
      dice.between(-SKEW / 2, SKEW / 2),
      (to) => network.canReach(server, to),
    );
    targets.set(address, server);
    return server;
  });
  SimServer.linkForLong(servers[0]!, servers.slice(1));
  const sentinels = Array.from({ length: 3 }, (_, i) => {
    const sentinel = new SimSentinel(world, `sent${i}`, servers);
    targets.set(`10.0.1.${i + 1}:26379`, sentinel);
    return sentinel;
  });
  const watch = new SimSentinels(
    world,
    sentinels,
    servers,
    (a, b) => network.canReach(a, b),
    dice.between(300, 1_000),
  );
  watch.watch();
  for (const server of servers) {
    // Acknowledgements that nobody asked for, once a second.
    const tick = (): void => {
      const { master } = server;
      const link = master?.links.get(server);
      if (master !== undefined && link?.isOnline === true) server['acknowledge'](link, master);
      server.after(1_000, tick);
    };
    tick();
  }

  const policy = dice.pick(['all', 'majority'] as const);
  const workers: Worker[] = Array.from({ length: dice.pick([2, 3]) }, (_, i) => {
    const host = new SimHost(
      world,
      `proc${i}`,
      1 + dice.between(-0.004, 0.004),
      dice.between(-5_000, 5_000),
      true,
    );
    const store = new RedisStore(
      {
        connection: {
          sentinels: [1, 2, 3].map((n) => ({ host: `10.0.1.${n}`, port: 26379 })),
          name: 'mymaster',
        },
        keyPrefix: 'lock:',
        replicas: policy,
        minReplicas: 1,
        quarantine: undefined,
        leaseTime: LEASE,
        replicaTimeout: 300,
        clockSkew: SKEW,
        allowEviction: false,
      },
      host,
      network.connector(host),
    );
    const service = new LockService(
      store,
      {
        leaseTime: LEASE,
        waitTime: 800,
        renew: true,
        maxHoldTime: undefined,
        replicas: policy,
        replicaTimeout: 300,
        shutdownTimeout: 0,
      },
      host,
    );
    service.events.subscribe((event) => {
      if (event.type === 'lost')
        world.tell(host.name, `loses ${event.keys.join('+')}: ${event.error.message}`);
    });
    return { host, service, held: new Set() };
  });

  let grants = 0;
  const lastToken = new Map<string, number>();
  const onGrant = (worker: Worker, lock: Lock): void => {
    grants++;
    worker.held.add(lock);
    world.tell(
      worker.host.name,
      `holds ${lock.keys.join('+')} with ${lock.fencingToken}, confirmed by ${lock.confirmedBy}`,
    );
    for (const key of lock.keys) {
      if (lock.fencingToken <= (lastToken.get(key) ?? 0))
        violate(`token of ${key} did not grow: ${lock.fencingToken} after ${lastToken.get(key)}`);
      lastToken.set(key, Math.max(lock.fencingToken, lastToken.get(key) ?? 0));
    }
  };
  const check = (): void => {
    const holders = new Map<string, string>();
    for (const { host, held } of workers) {
      if (host.state === 'dead') continue;
      for (const lock of held) {
        if (!lock.held) {
          held.delete(lock);
          continue;
        }
        for (const key of lock.keys) {
          const other = holders.get(key);
          if (other !== undefined) violate(`two hold ${key}: ${other} and ${host.name}`);
          holders.set(key, host.name);
        }
      }
    }
  };

  const phase = { isTroubled: true, isRight: false };
  const loop = async (worker: Worker): Promise<void> => {
    const { host, service } = worker;
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => host.after(ms, resolve));
    while (phase.isTroubled && host.state !== 'dead') {
      const keys = dice.chance(0.2) ? ['a', 'b'] : [dice.pick(['a', 'b'])];
      const asked = host.monotonic();
      const waitTime = dice.pick([0, 0, 300, 800]);
      try {
        const lock = await service.acquire(keys, { waitTime });
        onGrant(worker, lock);
        await sleep(dice.chance(0.5) ? dice.between(1, 60) : dice.between(200, 4_500));
        world.tell(host.name, `releases ${keys.join('+')} (${lock.held ? 'held' : 'lost'})`);
        worker.held.delete(lock);
        await lock.release().catch(() => false);
      } catch {
        // Refused: what else could happen in trouble.
      }
      const bound = waitTime + 300 + 1_000 + 5_000;
      if (host.monotonic() - asked > bound + 6_000)
        violate(`an acquisition and its work took ${(host.monotonic() - asked).toFixed(0)} ms`);
      await sleep(dice.between(1, 40));
    }
  };
  for (const worker of workers) {
    worker.service.open();
    void loop(worker);
    void loop(worker);
  }

  // --- trouble
  const control = new SimHost(world, 'nemesis', 1, 0, true);
  const faults: (() => void)[] = [
    () => {
      const master = watch.master;
      if (master.state !== 'running') return;
      master.crash();
      world.happen(dice.between(1_500, 4_000), control, () => {
        if (master.state !== 'dead') return;
        master.role = 'slave';
        master.master = watch.master === master ? undefined : watch.master;
        if (watch.master === master) master.role = 'master';
        master.restart();
      });
    },
    () => {
      const server = dice.chance(0.6) ? watch.master : dice.pick(servers);
      world.tell(server.name, 'freezes');
      server.freeze();
      world.happen(dice.between(100, 5_000), control, () => {
        world.tell(server.name, 'runs on');
        server.thaw();
      });
    },
    () => {
      world.tell('nemesis', 'false alarm');
      watch.failOver();
    },
    () => {
      const replica = dice.pick(servers.filter((server) => server.role === 'slave'));
      if (replica?.state !== 'running') return;
      replica.crash();
      world.happen(dice.between(100, 2_500), control, () => replica.state === 'dead' && replica.restart());
    },
    () => {
      const master = watch.master;
      if (master.state !== 'running') return;
      const withSnapshot = dice.chance(0.5);
      if (withSnapshot) master.save();
      world.happen(withSnapshot ? dice.between(50, 2_500) : 0, control, () => {
        if (master.state !== 'running' || master.role !== 'master') return;
        const replicas = [...master.links.keys()];
        master.crash();
        world.happen(dice.between(20, 200), control, () => {
          if (master.state !== 'dead') return;
          master.restart(withSnapshot);
          for (const replica of replicas) if (replica.master === master) replica.follow(master);
        });
      });
    },
    () => {
      world.tell('nemesis', 'cuts connections');
      for (const connection of network.connections) if (dice.chance(0.5)) connection.cut();
    },
    () => {
      const here = [
        watch.master,
        ...servers.filter((server) => server !== watch.master && dice.chance(0.4)),
        ...workers.filter(() => dice.chance(0.5)).map(({ host }) => host),
      ];
      const there = [...servers, ...sentinels, ...workers.map(({ host }) => host)].filter(
        (host) => !here.includes(host as SimServer),
      );
      world.tell('nemesis', `partition: ${here.map(({ name }) => name).join(' ')} | the rest`);
      network.separate(here, there);
      const old = watch.master;
      // repl-timeout
      world.happen(1_500, control, () => {
        for (const server of there)
          if (server instanceof SimServer && !network.canReach(server, old)) old.dropLink(server);
      });
      world.happen(dice.between(800, 5_000), control, () => {
        world.tell('nemesis', 'heals');
        network.heal();
      });
    },
    () => {
      const { host } = dice.pick(workers);
      world.tell(host.name, 'freezes');
      host.freeze();
      world.happen(dice.between(50, 4_000), control, () => host.thaw());
    },
    () => {
      const { host } = dice.pick(workers);
      const step = dice.between(-3_000, 3_000);
      world.tell(host.name, `its clock is set by ${step.toFixed(0)} ms`);
      host.stepWall(step);
    },
    () => {
      for (const replica of servers.filter((server) => server.role === 'slave' && dice.chance(0.7))) {
        replica.freeze();
        world.happen(dice.between(50, 900), control, () => replica.thaw());
      }
      world.tell('nemesis', 'replicas lag');
    },
  ];
  for (let i = 0, faultsLeft = dice.pick([1, 2, 2, 3, 4]); i < faultsLeft; i++) {
    world.happen(dice.between(200, TROUBLE * 0.7), control, dice.pick(faults));
  }
  await world.runUntil(TROUBLE, check);

  // --- and it becomes right again
  network.heal();
  for (const host of [...servers, ...workers.map((worker) => worker.host)]) host.thaw();
  await world.runUntil(TROUBLE + 5_500, check);
  phase.isTroubled = false;
  await world.runUntil(TROUBLE + RECOVERY, check);
  const last = workers.map(async ({ service, host }) => {
    const lock = await service.acquire(`last-${host.name}`, { waitTime: 9_000 });
    await lock.release();
  });
  void Promise.all(last).then(
    () => (phase.isRight = true),
    (error: unknown) => violate(`no lock after everything was mended: ${(error as Error).message}`),
  );
  for (let more = 500; more <= 14_000 && !phase.isRight; more += 500)
    await world.runUntil(TROUBLE + RECOVERY + more, check);
  if (!phase.isRight) violate('a lock was neither granted nor refused after everything was mended');

  if (!phase.isRight) {
    for (const server of servers) world.tell(server.name, server.description);
    for (const { host, service } of workers) world.tell(host.name, JSON.stringify(service.health()));
  }
  const { master } = watch;
  for (const key of ['a', 'b']) {
    const value = master.valueAt(`lock:${key}`);
    if (
      value?.startsWith('rl:') === true &&
      !workers.some(({ held }) => [...held].some((lock) => lock.keys.includes(key)))
    ) {
      violate(`${key} is held by nobody: ${value} for ${master.pttl(`lock:${key}`).toFixed(0)} ms`);
    }
  }
  for (const { service } of workers) void service.close();
  await world.runUntil(world.now + 3_000, check);
  const left = world.pendingOf(workers.map(({ host }) => host));
  if (left > 0) violate(`${left} timers or messages are left after the close`);
  if (network.connections.size > 0)
    violate(`${network.connections.size} connections are left after the close`);
  return { seed, violations: [...violations], history: () => world.history, grants };
}
