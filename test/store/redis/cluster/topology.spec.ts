import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Connection, Connector } from '../../../../lib/store/redis/connection/connection.js';
import type { Command, Reply } from '../../../../lib/store/redis/resp.js';
import { ClusterTopology } from '../../../../lib/store/redis/cluster/cluster-topology.js';
import {
  connectionSettingsOf,
  type ClusterSettings,
} from '../../../../lib/store/redis/connection/connection-settings.js';
import { ManualClock } from '../../../support/manual-clock.js';
import { redisOptions } from '../redis-stores.js';

/** Servers that answer CLUSTER NODES and nothing else. */
class CannedNodes implements Connector {
  readonly connectTimeout = 2_000;
  questions = 0;
  answer = '';
  onQuestion = (): void => {};

  connect(_address: unknown, label: string): Promise<Connection> {
    if (label !== 'topology') return Promise.reject(new Error('not here'));
    return Promise.resolve({
      send: (commands: readonly Command[], onReply: (reply: Reply, index: number) => void) => {
        this.questions++;
        this.onQuestion();
        commands.forEach((_, index) => onReply(this.answer, index));
      },
      subscribe: () => Promise.resolve(),
      onEnd: () => () => {},
      close: () => {},
    });
  }
}

const line = (id: string, port: number, rest: string): string => `${id} 10.0.0.1:${port}@1${port} ${rest}`;

describe('The topology of a Cluster', () => {
  const clock = new ManualClock();
  let servers: CannedNodes;
  let topology: ClusterTopology;

  beforeEach(async () => {
    servers = new CannedNodes();
    servers.answer = [
      line('a', 6379, 'myself,master - 0 0 1 connected 0-99'),
      line('b', 6380, 'master - 0 0 2 connected 100-16383'),
      line('c', 6381, 'slave a 0 0 1 connected'),
    ].join('\n');
    const connection = { nodes: [{ host: '10.0.0.1', port: 6379 }] };
    topology = new ClusterTopology(
      connectionSettingsOf(connection) as ClusterSettings,
      servers,
      redisOptions(connection),
      { onChange: () => {}, onReport: () => {} },
      clock,
    );
    topology.open();
    await clock.advance(100);
  });
  afterEach(() => topology.close());

  it('believes only the redirections of the master that served the slot', () => {
    topology.onRedirection({ kind: 'moved', slot: 7, to: '10.0.0.1:6380' }, 'b');
    expect(topology.ownerOf(7)).toBe('a');
    topology.onRedirection({ kind: 'moved', slot: 7, to: '10.0.0.1:6380' }, 'a');
    expect(topology.ownerOf(7)).toBe('b');
    expect(topology.ownerOf(8)).toBe('a');
  });

  const A = 'master - 0 0 1 connected';
  const B = 'master - 0 0 2 connected';

  /** From the next poll on, `b` names these servers. */
  async function polled(...lines: string[]): Promise<void> {
    servers.answer = lines.join('\n');
    await clock.advance(1_100);
  }

  it('waits for the next view if a master redirects to its own replica: a fail-over, or a single slot', async () => {
    servers.answer = [
      line('b', 6380, `myself,${B} 100-16383`),
      line('a', 6379, 'slave c 0 0 3 connected'),
      line('c', 6381, 'master - 0 0 3 connected 0-99'),
    ].join('\n');
    topology.onRedirection({ kind: 'moved', slot: 7, to: '10.0.0.1:6381' }, 'a');
    expect(topology.ownerOf(7)).toBe('a');
    await clock.advance(1_100);
    for (const slot of [0, 7, 99]) expect(topology.ownerOf(slot)).toBe('c');
  });

  it('keeps a shard when a replica has taken over all slots', async () => {
    const shard = topology.shardOf(7);
    await polled(
      line('b', 6380, `myself,${B} 100-16383`),
      line('a', 6379, 'master,fail - 0 0 1 connected'),
      line('c', 6381, 'master - 0 0 3 connected 0-99'),
    );
    for (const slot of [0, 7, 99]) expect(topology.shardOf(slot)).toBe(shard);
    expect(shard!.masterId).toBe('c');
    expect(topology.health()).toHaveLength(2);
  });

  it('leaves a shard with its master when a former replica is given one slot', async () => {
    const shard = topology.shardOf(7);
    await polled(
      line('b', 6380, `myself,${B} 100-16383`),
      line('a', 6379, `${A} 0-98`),
      line('c', 6381, 'master - 0 0 3 connected 99'),
    );
    expect(topology.shardOf(7)).toBe(shard);
    expect(shard!.masterId).toBe('a');
    expect(topology.shardOf(99)?.masterId).toBe('c');
    expect(topology.health()).toHaveLength(3);
  });

  it('takes a former replica for another shard when it is given the last slot as well', async () => {
    const shard = topology.shardOf(7);
    const c = 'master - 0 0 3 connected';
    await polled(line('b', 6380, `myself,${B} 100-16383`), line('a', 6379, `${A} 0-99`), line('c', 6381, c));
    await polled(line('b', 6380, `myself,${B} 100-16383`), line('a', 6379, A), line('c', 6381, `${c} 0-99`));
    expect(topology.shardOf(7)).not.toBe(shard);
    expect(topology.shardOf(7)?.masterId).toBe('c');
  });

  it('keeps a shard for the replica that took the slots, not for a former replica', async () => {
    const shard = topology.shardOf(7);
    await polled(
      line('b', 6380, `myself,${B} 100-16383`),
      line('a', 6379, `${A} 0-98`),
      line('c', 6381, 'slave a 0 0 1 connected'),
      line('d', 6382, 'master - 0 0 3 connected 99'),
    );
    await polled(
      line('b', 6380, `myself,${B} 100-16383`),
      line('a', 6379, 'master,fail - 0 0 1 connected'),
      line('c', 6381, 'master - 0 0 4 connected 0-98'),
      line('d', 6382, 'master - 0 0 3 connected 99'),
    );
    expect(topology.shardOf(7)).toBe(shard);
    expect(topology.shardOf(99)?.masterId).toBe('d');
  });

  it('polls often while a slot is on its way, and not after that', async () => {
    // The masters cannot be reached here, and would poll before each attempt to connect.
    for (const { master } of [topology.shardOf(0)!, topology.shardOf(100)!]) await master.close();
    const count = async (ms: number): Promise<number> => {
      const before = servers.questions;
      await clock.advance(ms);
      return servers.questions - before;
    };
    const calm = await count(10_000);
    // A poll is under way each time that a request is redirected.
    servers.onQuestion = () => topology.onRedirection({ kind: 'split' }, 'a');
    await clock.advance(1_000);
    expect(await count(1_000)).toBeGreaterThan(calm / 2);
    servers.onQuestion = () => {};
    await clock.advance(1_000);
    expect(await count(10_000)).toBeLessThanOrEqual(calm * 1.1);
  });
});
