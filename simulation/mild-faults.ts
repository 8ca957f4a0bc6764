import { freeze, named, replicasOf, type Fault, type NamedFault } from './fault.js';
import { soleHolder } from './permit-scripts.js';
import { FORBIDDEN_KEY, FOREIGN_KEY, LEASE, LIMITS, LONG_KEY, SKEW } from './scene.js';

/** ms that a process may need to connect anew and to ask again. */
const RECONNECT_TIME = 1_500;
/**
 * Longest turn of an event loop, in ms, within which no lock may be lost. A renewal may be sent one
 * turn late, and its answer may be read one turn later. Both turns and the confirmation must fit
 * into the two thirds of the lease that are left when the renewal is due.
 */
const LIVELY_TURN = 0.3 * LEASE;

const clientsPaused: Fault = ({ world, weather, watch, nemesis, excuses }) => {
  const { dice } = world;
  const kind = dice.pick(['WRITE', 'WRITE', 'ALL'] as const);
  const longest = weather.isMild ? (kind === 'ALL' ? 200 : 600) : 2_500;
  for (let i = 0, pauses = dice.pick([1, 2, 5]); i < pauses; i++) {
    world.happen(i * dice.between(30, 200), nemesis, () => {
      const ms = dice.between(20, longest / pauses);
      excuses.add('refusal', world.now + ms + RECONNECT_TIME);
      watch.master.pauseClients(ms, kind);
    });
  }
};

/**
 * While writes are paused from time to time, the library ends a WAIT that delays other requests.
 */
const clientsPausedBesideHungReplica: Fault = (scene) => {
  const { world, watch, nemesis, excuses } = scene;
  const { dice } = world;
  const replica = dice.pick(replicasOf(scene));
  if (replica === undefined) return;
  const ms = dice.between(600, 1_600);
  excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  if (replicasOf(scene).length < 2) excuses.add('loss', world.now + ms + LEASE);
  freeze(scene, replica, ms);
  for (let at = dice.between(20, 200); at < ms; at += dice.between(40, 300)) {
    world.happen(at, nemesis, () => watch.master.pauseClients(dice.between(10, 90), 'WRITE'));
  }
};

/** The same, but with so many requests that a second group is sent behind the first. */
const clientsPausedInRush: Fault = (scene) => {
  scene.rush(1_500);
  clientsPausedBesideHungReplica(scene);
};

const loopIsBusy: Fault = ({ world, weather, workers, excuses }) => {
  const { dice } = world;
  const { host } = dice.pick(workers);
  const longest = weather.isMild ? LIVELY_TURN : 1_500;
  const turn = dice.pick([dice.between(15, 80), dice.between(80, longest), longest]);
  const ms = dice.between(2_000, 4_000);
  world.tell(host.name, `has an event loop turn only every ${turn.toFixed(0)} ms, for ${ms.toFixed(0)} ms`);
  // An answer may be read two turns after the question was due.
  excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  host.beBusy(ms, () => turn * dice.between(0.9, 1));
};

const answersAreLost: Fault = ({ world, network, weather }) => {
  const script = world.dice.pick(['release', 'acquire', 'renew'] as const);
  const count = weather.isMild ? world.dice.pick([1, 2]) : world.dice.pick([1, 3, 10]);
  world.tell('nemesis', `loses the next ${count} answers to ${script}`);
  network.loseAnswers(script, count);
  network.loseAnswers(`${script}Permit`, count);
};

const memoryIsFull: Fault = ({ world, watch, nemesis, excuses }) => {
  const { master } = watch;
  const ms = world.dice.between(300, 1_500);
  world.tell(master.name, `has no memory left for ${ms.toFixed(0)} ms`);
  excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  master.isFull = true;
  world.happen(ms, nemesis, () => (master.isFull = false));
};

const scriptsAreFlushed: Fault = ({ watch }) => watch.master.forgetScripts();

const oneReplicaAway: Fault = (scene) => {
  const { world, excuses, policy } = scene;
  const replica = world.dice.pick(replicasOf(scene));
  if (replica === undefined) return;
  const ms = world.dice.between(100, 1_500);
  const isNeeded = replicasOf(scene).length < 2;
  if (isNeeded) excuses.add('loss', world.now + ms + LEASE);
  if (isNeeded || policy === 'all') excuses.add('refusal', world.now + ms + RECONNECT_TIME);
  freeze(scene, replica, ms);
};

const sentinelHangs: Fault = (scene) => {
  const { world, network, nemesis, sentinels } = scene;
  const sentinel = world.dice.pick(sentinels);
  const ms = world.dice.between(500, 6_000);
  if (world.dice.chance(0.5)) freeze(scene, sentinel, ms);
  else {
    world.tell(sentinel.name, 'accepts connections and never answers');
    network.silence(sentinel);
    world.happen(ms, nemesis, () => network.endSilence(sentinel));
  }
};

/** A command that is sent to the master meanwhile is never answered on that connection. */
const masterIsSilent: Fault = ({ world, network, watch, nemesis, excuses }) => {
  const { master } = watch;
  const ms = world.dice.between(200, 1_500);
  world.tell(master.name, 'accepts connections and never answers');
  network.silence(master);
  excuses.add('loss', world.now + ms + LEASE);
  excuses.add('refusal', world.now + ms + 2 * RECONNECT_TIME);
  world.happen(ms, nemesis, () => {
    world.tell(master.name, 'answers again');
    network.endSilence(master);
  });
};

/**
 * The replica's full synchronisation takes long. The other replicas have old links, and are a
 * majority together with the master.
 */
const replicaReturnsSlowly: Fault = (scene) => {
  const { world, nemesis, excuses } = scene;
  const replica = world.dice.pick(replicasOf(scene));
  if (replica?.state !== 'running') return;
  if (replicasOf(scene).length < 2) {
    excuses.add('loss', Infinity);
    excuses.add('refusal', Infinity);
  }
  replica.crash();
  replica.style.syncTime = 6_000;
  world.happen(world.dice.between(50, 500), nemesis, () => replica.state === 'dead' && replica.restart());
};

/**
 * A process meets a key that another program holds, or an application with longer leases. Other
 * keys do not have to wait for that key.
 */
export const keyIsHeldForLong: Fault = ({ world, watch, foreign, strayKeys }) => {
  const { master } = watch;
  const name = `lock:${FOREIGN_KEY}`;
  if (master.holdersAt(name).length > 0) return;
  const ms = world.dice.pick([4_000, 7_000, 86_400_000]);
  world.tell('nemesis', `takes ${FOREIGN_KEY} for ${ms} ms`);
  const owner = `rl:foreign:${foreign.size + 1}`;
  const limit = world.dice.pick(LIMITS);
  foreign.set(owner, { until: world.now + ms, limit });
  strayKeys.add(FOREIGN_KEY);
  const token = 1_700_000_000_000_000;
  const value =
    limit === 1 ? `${owner} ${token}` : soleHolder(owner, token, limit, master.wall() + ms + SKEW);
  master.put(name, value, ms + SKEW);
};

/** One request is refused. Requests in the same group are not. */
const keyIsForbidden: Fault = ({ strayKeys }) => strayKeys.add(FORBIDDEN_KEY);

const leasesAreTooLong: Fault = ({ strayKeys }) => strayKeys.add(LONG_KEY);

export const BUSY = 'busy event loop';
export const RUSH = 'clients paused in a rush of requests';

/**
 * These faults must cost no held lock if they come one after the other, with time to recover
 * between them.
 */
export const MILD_FAULTS: readonly NamedFault[] = [
  ...named({
    'clients paused': clientsPaused,
    'clients paused beside a hung replica': clientsPausedBesideHungReplica,
    [RUSH]: clientsPausedInRush,
    'answers lost': answersAreLost,
    'memory full': memoryIsFull,
    'scripts flushed': scriptsAreFlushed,
    'one replica away': oneReplicaAway,
    'silent master': masterIsSilent,
    'key held for a long time': keyIsHeldForLong,
    'key forbidden': keyIsForbidden,
    'leases too long': leasesAreTooLong,
  }),
  ...named({ [BUSY]: loopIsBusy }, 2),
  ...named({ 'a Sentinel hangs': sentinelHangs, 'replica returns slowly': replicaReturnsSlowly }, 3),
];
