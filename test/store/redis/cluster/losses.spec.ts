import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../../../lib/common/clock.js';
import type { AcquireOutcome, HeldKeys, LockStore } from '../../../../lib/store/lock-store.js';
import { slotOf, startCluster, type TestCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import { majorVersion, type RedisProcess } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const QUARANTINE = 3_000;
/** Seconds by which links look younger to a process that did not see how they were made. */
const UNCERTAINTY = 6;

/** A master with a few slots, and the servers beside it. */
interface SmallShard {
  readonly master: RedisProcess;
  readonly replicas: readonly RedisProcess[];
  /** One key in each slot of the master. */
  readonly keys: readonly string[];
}

const stores = new RedisStores();
let cluster: TestCluster;
/** Shards that lose locks one after the other, and a replica that is free afterwards. */
let small: SmallShard[];
let spare: RedisProcess;

beforeAll(async () => {
  const config = majorVersion() >= 9 ? { 'cluster-manual-failover-timeout': 1_000 } : {};
  cluster = await startCluster({ config });
  const nodes = await Promise.all(Array.from({ length: 9 }, () => cluster.add()));
  const [one, two, three] = [nodes.splice(0, 3), nodes.splice(0, 3), nodes.splice(0, 3)];
  spare = one[2]!;
  const shards = [one, two, three] as [RedisProcess, ...RedisProcess[]][];
  await Promise.all(
    shards.flatMap(([master, ...replicas]) => replicas.map((replica) => cluster.follow(replica, master))),
  );
  small = [];
  for (const [[master, ...replicas], slots] of [
    [one, 1],
    [two, 1],
    [three, 3],
  ] as [(typeof shards)[0], number][]) {
    const keys: string[] = [];
    for (let i = 0; i < slots; i++) {
      keys.push(await cluster.keyOf(cluster.nodes[0]!));
      await cluster.move([slotOf(keys[i]!)], master);
    }
    small.push({ master, replicas, keys });
  }
}, 60_000);
afterEach(() => stores.closeAll());
afterAll(() => cluster.dispose());

const open = (): LockStore => stores.open(cluster.connection, { quarantine: QUARANTINE });

function askOnce(store: LockStore, key: string): Promise<AcquireOutcome> {
  const waitUntil = systemClock.monotonic();
  return store.acquire(requestFor(key, { leaseTime: QUARANTINE, waitUntil })).outcome;
}

/** A lock with a holder that counts on it for as long as the quarantine covers. */
function takeFor(store: LockStore, key: string, patience = 15_000): Promise<HeldKeys> {
  return take(store, key, { leaseTime: QUARANTINE, waitUntil: systemClock.monotonic() + patience });
}

/** Waits until the links of all replicas have stood for so many seconds. */
async function untilOld(seconds: number): Promise<void> {
  await until(
    async () => {
      for (const node of cluster.running) {
        const list = String(await node.call('CLIENT', 'LIST', 'TYPE', 'replica'));
        for (const [, age] of list.matchAll(/ age=(\d+)/g)) if (Number(age) < seconds) return false;
      }
      return true;
    },
    { within: 20_000, what: `all links are older than ${seconds} s` },
  );
}

/**
 * Every store asks again and again while the holder believes in the lock. No store may get the lock
 * before that ends.
 */
async function expectOneHolder(held: HeldKeys, rivals: readonly LockStore[]): Promise<void> {
  const [key] = held.keys as [string];
  let asked = 0;
  while (held.validity.remaining(systemClock) > 0) {
    const outcomes = await Promise.all(rivals.map((rival) => askOnce(rival, key)));
    if (held.validity.remaining(systemClock) <= 0) break;
    for (const outcome of outcomes) expect(outcome.kind).not.toBe('granted');
    asked++;
  }
  expect(asked).toBeGreaterThan(0);
}

/** Stops a replica: later writes of the master do not arrive there. */
async function fallBehind(replica: RedisProcess, master: RedisProcess): Promise<void> {
  const [, socket] = / laddr=(\S+)/.exec(String(await replica.call('CLIENT', 'LIST', 'TYPE', 'master')))!;
  await replica.stop();
  await master.call('CLIENT', 'KILL', 'ADDR', socket!);
}

/** Makes a replica a master of its own, without slots. */
async function detach(replica: RedisProcess): Promise<void> {
  await replica.call('CLUSTER', 'RESET', 'SOFT');
  await replica.call('CLUSTER', 'MEET', '127.0.0.1', cluster.nodes[0]!.port);
  await until(
    async () => {
      const views = await Promise.all(cluster.running.map((node) => cluster.view(node)));
      return views.every(
        (view) =>
          view.length >= cluster.running.length &&
          view.find(({ port }) => port === replica.port)?.flags.includes('master') === true,
      );
    },
    { within: 15_000, what: `every node knows that ${replica.address} is a master` },
  );
  await until(async () => String(await replica.call('CLUSTER', 'INFO')).includes('cluster_state:ok'), {
    within: 10_000,
    what: `${replica.address} takes part`,
  });
}

describe('A Cluster in which nothing was lost', () => {
  it('grants locks at once to a process that has just started, and in a slot that has just moved', async () => {
    await untilOld(QUARANTINE / 1000 + UNCERTAINTY + 1);
    const [one, other] = cluster.nodes as [RedisProcess, RedisProcess];
    const store = open();
    const key = await cluster.keyOf(one);
    granted(await askOnce(store, await cluster.keyOf(one)));
    await cluster.move([slotOf(key)], other);
    granted(await askOnce(store, key));
    granted(await askOnce(open(), await cluster.keyOf(other)));
  }, 30_000);
});

describe('A shard that lost locks and gives its last slot away at once', () => {
  it('grants none of them again if its master has restarted empty, even to a process that has just started', async () => {
    const { master, keys } = small[0]!;
    const [key] = keys as [string];
    const [holder, running] = [open(), open()];
    await takeFor(running, await cluster.keyOf(cluster.nodes[2]!));
    const held = await takeFor(holder, key);
    await master.restart();
    await cluster.move([slotOf(key)], cluster.nodes[1]!);
    const isSaid = (): boolean =>
      JSON.stringify(running.health()).includes(`came to this master lately wait: ${master.address} has`);
    await Promise.all([
      expectOneHolder(held, [running, open()]),
      until(isSaid, { what: 'health() says why new locks wait' }),
    ]);
    await takeFor(running, key);
  }, 30_000);

  it('grants none of them again if a replica that lacks them takes over beside a master that hangs', async () => {
    const { master, replicas, keys } = small[1]!;
    const [replica, behind] = replicas as [RedisProcess, RedisProcess];
    const [key] = keys as [string];
    const [holder, running] = [open(), open()];
    await takeFor(running, await cluster.keyOf(cluster.nodes[2]!));
    await fallBehind(behind, master);
    const held = await takeFor(holder, key);
    for (const node of [master, replica]) {
      node.beforeOutage = () => Promise.resolve();
      await node.stop();
    }
    behind.resume();
    await behind.call('CLUSTER', 'FAILOVER', 'TAKEOVER');
    await until(async () => (await cluster.ownerOf(slotOf(key))) === behind, { what: 'it has taken over' });
    await cluster.move([slotOf(key)], cluster.nodes[1]!);
    await expectOneHolder(held, [running, open()]);
    for (const node of [master, replica]) node.resume();
  }, 30_000);
});

describe('A replica that was made a master of its own', () => {
  it('gets only its own slots from its former shard, and no trust in a slot in which that shard lost locks', async () => {
    const { master, replicas, keys } = small[2]!;
    const [, former] = replicas as [RedisProcess, RedisProcess];
    const [given, stays, lost] = keys as [string, string, string];
    const [holder, running] = [open(), open()];
    await takeFor(running, given).then((lock) => running.release(lock, 0));
    await detach(former);
    await cluster.follow(spare, former);
    await cluster.move([slotOf(given)], former);
    await until(
      async () => JSON.stringify(await askOnce(running, given)).includes(`${former.address} of slots`),
      { what: 'the store knows where the slot has gone' },
    );
    granted(await askOnce(running, stays));

    await untilOld(QUARANTINE / 1000 + 1);
    const held = await takeFor(holder, lost);
    await master.restart();
    await cluster.move([slotOf(lost)], former);
    await expectOneHolder(held, [running, open()]);
  }, 30_000);
});

/** Only Valkey 9 migrates slots by itself, of the servers that the tests run on. */
const itMigrates = majorVersion() >= 9 ? it : it.skip;

describe('A slot that came by an atomic migration', () => {
  const stateOf = async (node: RedisProcess): Promise<string | undefined> =>
    /"state","([^"]+)"/.exec(JSON.stringify(await node.call('CLUSTER', 'GETSLOTMIGRATIONS')))?.[1];

  const prevents = (node: RedisProcess, what: 'PAUSE' | 'FAILOVER', isOn: boolean): Promise<unknown> =>
    node.call('DEBUG', 'SLOTMIGRATION', `PREVENT-${what}`, isOn ? 1 : 0);

  /**
   * Migrates the slot. The target hangs when it has asked for the last step, until the source has
   * given up. Answers false if the target was too fast for that.
   */
  async function migrateToFrozen(slot: number, from: RedisProcess, to: RedisProcess): Promise<boolean> {
    await prevents(from, 'PAUSE', true);
    await from.call('CLUSTER', 'MIGRATESLOTS', 'SLOTSRANGE', slot, slot, 'NODE', cluster.idOf(to));
    await until(async () => (await stateOf(from)) === 'waiting-to-pause', { what: 'all is there' });
    // The source is told to sleep again and again: another such command always precedes the
    // target's request.
    const sleeper = from.client();
    const stop = setInterval(() => void sleeper.call('DEBUG', 'SLEEP', 0.1).catch(() => {}), 40);
    await prevents(from, 'PAUSE', false);
    const state = await until(
      async () => {
        const now = await stateOf(to);
        return now === 'failover-requested' || now === 'success' ? now : undefined;
      },
      { what: 'the target asks for the slot' },
    );
    clearInterval(stop);
    if (state === 'success') return false;
    await to.stop();
    await until(async () => (await stateOf(from)) === 'failed', {
      within: 15_000,
      what: 'the source gives up',
    });
    return true;
  }

  itMigrates('is granted at once, where its source says that it was successful', async () => {
    const [, to, from] = cluster.nodes as [RedisProcess, RedisProcess, RedisProcess];
    const store = open();
    const key = await cluster.keyOf(from);
    await takeFor(store, await cluster.keyOf(from));
    const slot = slotOf(key);
    await from.call('CLUSTER', 'MIGRATESLOTS', 'SLOTSRANGE', slot, slot, 'NODE', cluster.idOf(to));
    await until(async () => (await cluster.ownerOf(slot)) === to, { what: 'the target has the slot' });
    await takeFor(store, key, 1_000);
  });

  itMigrates(
    'grants nothing that its source granted after it gave up waiting for the target',
    async () => {
      const [, to, from] = cluster.nodes as [RedisProcess, RedisProcess, RedisProcess];
      let key = await cluster.keyOf(from);
      const [holder, running] = [open(), open()];
      await takeFor(running, await cluster.keyOf(from));
      await takeFor(holder, await cluster.keyOf(from));
      to.beforeOutage = () => Promise.resolve();
      while (!(await migrateToFrozen(slotOf(key), from, to))) key = await cluster.keyOf(from);
      const held = await takeFor(holder, key);
      to.resume();
      await until(async () => (await cluster.ownerOf(slotOf(key))) === to, {
        what: 'the target has the slot',
      });
      await expectOneHolder(held, [running, open()]);
    },
    40_000,
  );
});
