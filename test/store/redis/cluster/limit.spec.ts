import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { slotOf, startCluster, type TestCluster } from '../../../support/cluster.js';
import { RedisServices } from '../redis-stores.js';

const services = new RedisServices();
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startCluster();
}, 30_000);
afterEach(() => services.closeAll());
afterAll(() => cluster.dispose());

/** Keys whose slots are of different masters. */
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
const SMALLEST = KEYS.toSorted((a, b) => slotOf(a) - slotOf(b));

describe('A limit on keys in several slots of a Cluster', () => {
  it('is kept on each key, and callers with other sets of keys get their turn', async () => {
    const copies = [1, 2].map(() => services.open({ nodes: cluster.nodes.map(({ port }) => port) }).locks);
    const inside = new Map<string, number>();
    let most = 0;
    const use = async (keys: string[], copy: number): Promise<void> => {
      await copies[copy]!.withLock(keys, { limit: 2, waitTime: 30_000 }, async () => {
        for (const key of keys) {
          inside.set(key, (inside.get(key) ?? 0) + 1);
          most = Math.max(most, inside.get(key)!);
        }
        await sleep(5);
        for (const key of keys) inside.set(key, inside.get(key)! - 1);
      });
    };
    await Promise.all(
      Array.from({ length: 24 }, (_, i) =>
        use(
          KEYS.filter((_key, k) => (i + k) % 3 !== 0),
          i % 2,
        ),
      ),
    );
    expect(most).toBe(2);
  }, 60_000);

  it('does not starve a writer whose last slot is full of readers', async () => {
    const [reading, writing] = [1, 2].map(
      () => services.open({ nodes: cluster.nodes.map(({ port }) => port) }).locks,
    );
    const [first, last] = [SMALLEST[0]!, SMALLEST.at(-1)!];
    const end = new AbortController();
    const read = async (): Promise<void> => {
      while (!end.signal.aborted)
        await reading!.withLock(last, { limit: Infinity, waitTime: 30_000 }, () => sleep(20));
    };
    const reads = Array.from({ length: 8 }, (_, i) => sleep(i * 3).then(read));
    await sleep(200);
    const lock = await writing!.acquire([first, last], { waitTime: 20_000 });
    expect(await reading!.inspectAll(last)).toMatchObject([{ owner: lock.owner, limit: 1, holders: 1 }]);
    await lock.release();
    end.abort();
    await Promise.all(reads);
  }, 60_000);
});
