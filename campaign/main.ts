import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Checker } from './checker.js';
import { KINDS, now, type WorkerEvent } from './events.js';
import type { Fault, Scene } from './fault.js';
import { FAULTS } from './faults.js';
import { Deployment, type Setup } from './deployment.js';
import { ClusterDeployment } from './cluster-deployment.js';
import { CLUSTER_FAULTS } from './cluster-faults.js';
import { makeHosts, type Host } from './hosts.js';
import { Program, Server } from './server.js';
import { until } from './until.js';

/*
 * npm run campaign -- [--cluster] [--faults 20] [--policy all|majority] [--seed 1]
 * [--limit 1 | --election] [--only words,others] [--json file]
 *
 * Several worker processes take, hold and release locks while one fault after the other is
 * injected. The servers are a master with three replicas and three Sentinels, or a Cluster of three
 * masters with two replicas each. No more workers may believe in a lock at once than one of them
 * allows: one, or as many as `--limit` says. With `--election` all workers stand for the same
 * elections, and no two may lead at once. Two controls run beside, and must show that they allow
 * more.
 */

const WORKERS = 4;
const DOWN_AFTER = 700;
const NODE_TIMEOUT = 1_500;
/**
 * ms within which a holder must know of the deletion of a key. Includes two process switches and a
 * busy machine.
 */
const TOLD_WITHIN = 500;

const { values } = parseArgs({
  options: {
    cluster: { type: 'boolean', default: false },
    faults: { type: 'string', default: '20' },
    policy: { type: 'string', default: 'all' },
    seed: { type: 'string', default: '1' },
    lease: { type: 'string', default: '5000' },
    limit: { type: 'string', default: '1' },
    election: { type: 'boolean', default: false },
    only: { type: 'string' },
    json: { type: 'string' },
    id: { type: 'string', default: String(process.pid % 200) },
  },
});
const leaseTime = Number(values.lease);
const { election } = values;
if (election && values.limit !== '1') throw new Error('A leader has no limit: give --limit or --election.');
const policy = values.policy === 'majority' ? 'majority' : 'all';

/** Numbers from 0 to 1 that the seed decides (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The order of the faults: all kinds in a random order, then all kinds in another, and so on. */
function plan<F>(count: number, kinds: readonly F[], random: () => number): F[] {
  const faults: F[] = [];
  while (faults.length < count) {
    const round = kinds.map((fault) => ({ fault, place: random() })).toSorted((a, b) => a.place - b.place);
    faults.push(...round.map(({ fault }) => fault));
  }
  return faults.slice(0, count);
}

/** The servers, and the faults that can be injected into this kind of deployment. */
interface Stage {
  readonly deployment: Setup;
  readonly faults: readonly (Pick<Fault, 'name' | 'needsPartition' | 'isMild'> & {
    run(scene: Omit<Scene, 'deployment'>): Promise<void>;
  })[];
}

function stageOf<D extends Setup>(deployment: D, faults: readonly Fault<D>[]): Stage {
  return {
    deployment,
    faults: faults.map(({ name, needsPartition = false, isMild = false, run }) => ({
      name,
      needsPartition,
      isMild,
      // All faults share one scene, so that the campaign sees the notes of a fault there.
      run: (scene) => run(Object.assign(scene, { deployment })),
    })),
  };
}

function isWanted(name: string): boolean {
  return values.only === undefined || values.only.split(',').some((words) => name.includes(words));
}

const random = seeded(Number(values.seed));
const hosts = await makeHosts(Number(values.id));
const stage = values.cluster
  ? stageOf(await ClusterDeployment.start(hosts, NODE_TIMEOUT), CLUSTER_FAULTS)
  : stageOf(await Deployment.start(hosts, DOWN_AFTER), FAULTS);
const { deployment } = stage;
const kinds = stage.faults.filter(
  (fault) => (hosts.canPartition || fault.needsPartition !== true) && isWanted(fault.name),
);
if (!hosts.canPartition)
  console.log(
    'No network namespaces here (Linux, root and iproute2 make them): the campaign goes without partitions.',
  );
console.log(
  `${values.faults} faults of ${kinds.length} kinds, policy '${policy}', lease ${leaseTime} ms, seed ${values.seed}`,
);

const checker = new Checker(leaseTime);
/** The resource that the locks protect: no fault is injected there. */
const resource = Server.data(await hosts.add('fence'), {});
resource.start();
const limit = Number(values.limit);
// Fewer keys with a larger limit, so that some callers find each key full. Fewer elections, because
// every worker stands for each.
const keys = Array.from({ length: limit === 1 && !election ? 30 : 5 }, (_, i) => `k${i}`);
const settings = {
  resource: { host: resource.host.ip, port: resource.port },
  connection: deployment.connection,
  leaseTime,
  policy,
  keys: keys.length,
  limit,
  election,
  loops: 8,
};
const workerHosts: Host[] = [];
const workers: Program[] = [];
for (let i = 0; i < WORKERS; i++) {
  const host = await hosts.add(`w${i}`);
  workerHosts.push(host);
  const command = [
    process.execPath,
    fileURLToPath(new URL('worker.js', import.meta.url)),
    JSON.stringify(settings),
  ];
  workers.push(new Program(host, command, (line) => checker.take(i, JSON.parse(line) as WorkerEvent)));
}
for (const worker of workers) worker.start();

interface Outcome {
  readonly fault: string;
  /** The longest time without a new lock; with `--election`, of one election without a leader. */
  readonly longestGap: number;
  /**
   * ms from the promotion, if there was one, to the first held lock confirmed anew and to the first
   * new lock.
   */
  readonly toRenewal: number | undefined;
  readonly toGrant: number | undefined;
}
const outcomes: Outcome[] = [];
const scene: Omit<Scene, 'deployment'> = {
  hosts,
  workers,
  workerHosts,
  checker,
  leaseTime,
  random,
  promotedAt: undefined,
};
let failure: unknown;
let current = '';
/** Keys that could not be taken any more, although they had no holder. */
const stuck: string[] = [];

process.once('SIGINT', () => process.exit(130));
try {
  await until('locks are granted', async () => checker.grants('replica') > 20, 60_000);
  const from = now();
  for (const [index, fault] of plan(Number(values.faults), kinds, random).entries()) {
    const start = now();
    current = fault.name;
    scene.promotedAt = undefined;
    await fault.run(scene);
    await hosts.heal();
    for (const worker of workers) {
      if (worker.isFrozen) worker.thaw();
      if (!worker.isRunning) worker.start();
    }
    await deployment.untilHealthy();
    const whole = now();
    await until(
      election ? 'every election has a leader again' : 'locks are granted again',
      async () =>
        election
          ? checker.stuckSince(whole, keys, now()).length === 0
          : checker.firstGrantAfter('replica', whole) !== undefined,
      60_000,
    );
    await sleep(500 + random() * 1_500);
    if (fault.isMild === true) checker.wasMild(start, now());
    for (const program of [...deployment.programs, ...workers])
      for (const death of program.deaths.splice(0)) checker.programDied(death, now());
    const longestGap = election
      ? checker.longestVacancy(keys, start, now())
      : checker.longestGap('replica', start, now());
    const since = scene.promotedAt;
    const after = (at: number | undefined): number | undefined =>
      since === undefined || at === undefined ? undefined : at - since;
    outcomes.push({
      fault: fault.name,
      longestGap,
      toRenewal: after(checker.firstRenewalAfter(since ?? Infinity)),
      toGrant: after(checker.firstGrantAfter('replica', since ?? Infinity)),
    });
    const found = KINDS.map((kind) => `${kind} ${checker.violations(kind, TOLD_WITHIN).length}`).join(', ');
    console.log(
      `${String(index + 1).padStart(4)} ${fault.name.padEnd(58)} ${((now() - start) / 1000).toFixed(1).padStart(6)} s, longest without a ${election ? 'leader' : 'grant'} ${(longestGap / 1000).toFixed(1).padStart(5)} s; violations: ${found}`,
    );
  }
  console.log(`${((now() - from) / 1000).toFixed(0)} s of faults`);
  const whole = now();
  await until(
    'every key can be taken',
    async () => checker.stuckSince(whole, keys, now()).length === 0,
    30_000,
  ).catch(() => {});
  stuck.push(...checker.stuckSince(whole, keys, now()));
} catch (error) {
  failure = error;
}

// Keys that are left when all workers are gone may not outlive lease, clock allowance and
// tombstone.
for (const worker of workers) await worker.kill();
const leftovers: string[] = [];
try {
  for (const master of await deployment.masters()) {
    for (const key of (await master.call('keys', 'lock:*')).split('\n').filter(Boolean)) {
      const ttl = Number(await master.call('pttl', key));
      // -2: the key has expired since.
      if (ttl === -1 || ttl > Math.max(leaseTime + 1_000, 10_000)) leftovers.push(`${key}: ${ttl} ms`);
    }
  }
} catch (error) {
  failure ??= error;
}
await deployment.dispose();
await resource.kill();
resource.removeFolder();
await hosts.dispose();

const sorted = (times: readonly (number | undefined)[]): number[] =>
  times.filter((time) => time !== undefined).toSorted((a, b) => a - b);
const median = (times: readonly number[]): number => Math.round(times[times.length >> 1] ?? 0);

const report = {
  seed: Number(values.seed),
  policy,
  leaseTime,
  limit,
  election,
  faults: Object.fromEntries(
    kinds.map(({ name }) => {
      const own = outcomes.filter((outcome) => outcome.fault === name);
      const gaps = sorted(own.map((outcome) => outcome.longestGap));
      return [
        name,
        {
          count: own.length,
          medianGap: median(gaps),
          longestGap: Math.round(gaps.at(-1) ?? 0),
          toRenewal: median(sorted(own.map((outcome) => outcome.toRenewal))),
          toGrant: median(sorted(own.map((outcome) => outcome.toGrant))),
        },
      ];
    }),
  ),
  grants: Object.fromEntries(KINDS.map((kind) => [kind, checker.grants(kind)])),
  refusals: Object.fromEntries(checker.refusals),
  violations: Object.fromEntries(KINDS.map((kind) => [kind, checker.violations(kind, TOLD_WITHIN)])),
  refusedWrites: checker.refusedWrites,
  leftovers,
  stuck,
  troubles: [...new Set(checker.troubles)],
  ...(failure !== undefined && { failure: String(failure) }),
};
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report, null, 2));

console.table(report.faults);
console.table(
  KINDS.map((kind) => ({
    lock:
      kind === 'replica'
        ? 'nestjs-replica-lock'
        : kind === 'plain'
          ? 'control: SET NX PX'
          : 'control: SET + WAIT (as many as connected)',
    [election ? 'terms' : 'grants']: report.grants[kind],
    [election ? 'two leaders' : 'too many holders']: checker
      .violations(kind, TOLD_WITHIN)
      .filter(({ what }) => what === 'too many holders').length,
    'other violations': checker
      .violations(kind, TOLD_WITHIN)
      .filter(({ what }) => what !== 'too many holders').length,
  })),
);
for (const violation of checker.violations('replica', TOLD_WITHIN)) console.log(violation);
console.log('refusals', report.refusals);
console.log(`${report.refusedWrites} writes of former holders were held up by the fence`);
if (stuck.length > 0) console.log('keys that could not be taken any more', stuck);
if (leftovers.length > 0) console.log('keys that outlived their time', leftovers);
if (report.troubles.length > 0) console.log('troubles', report.troubles);
if (failure !== undefined) console.log(`the campaign itself failed at '${current}':`, failure);

const isClean =
  checker.violations('replica', TOLD_WITHIN).length === 0 &&
  leftovers.length === 0 &&
  stuck.length === 0 &&
  report.troubles.length === 0;
const seen = (['plain', 'naive'] as const).map((kind) => checker.violations(kind, TOLD_WITHIN).length > 0);
// Leaders keep their keys for long, so that a fault meets few fresh keys: one control is enough.
const canSee =
  values.only !== undefined ||
  outcomes.length < kinds.length ||
  (election ? seen.includes(true) : !seen.includes(false));
if (!canSee) console.log('The controls showed no violation: the checker may be blind.');
process.exit(isClean && canSee && failure === undefined ? 0 : 1);
