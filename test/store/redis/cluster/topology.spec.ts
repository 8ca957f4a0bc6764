import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Command, Connection, Connector, Reply } from '../../../../lib/store/redis/connection.js';
import { ClusterTopology } from '../../../../lib/store/redis/cluster/cluster-topology.js';
import { deploymentOf, type ClusterDeployment } from '../../../../lib/store/redis/deployment.js';
import { ManualClock } from '../../../support/manual-clock.js';
import { redisOptions } from '../redis-stores.js';

/** Servers that answer CLUSTER NODES and nothing else. */
class Told implements Connector {
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

describe('Who watches a Cluster', () => {
  const clock = new ManualClock();
  let servers: Told;
  let topology: ClusterTopology;

  beforeEach(async () => {
    servers = new Told();
    servers.answer = [
      line('a', 6379, 'myself,master - 0 0 1 connected 0-99'),
      line('b', 6380, 'master - 0 0 2 connected 100-16383'),
      line('c', 6381, 'slave a 0 0 1 connected'),
    ].join('\n');
    const connection = { nodes: [{ host: '10.0.0.1', port: 6379 }] };
    topology = new ClusterTopology(
      deploymentOf(connection) as ClusterDeployment,
      servers,
      redisOptions(connection),
      { onChange: () => {}, onReport: () => {} },
      clock,
    );
    topology.open();
    await clock.advance(100);
  });
  afterEach(() => topology.close());

  it('believes a redirection of the master that served the slot, and of nobody else', () => {
    topology.redirected({ kind: 'moved', slot: 7, to: '10.0.0.1:6380' }, 'b');
    expect(topology.ownerOf(7)).toBe('a');
    topology.redirected({ kind: 'moved', slot: 7, to: '10.0.0.1:6380' }, 'a');
    expect(topology.ownerOf(7)).toBe('b');
    expect(topology.ownerOf(8)).toBe('a');
  });

  it('takes a redirection to a replica of its master for a fail-over: all slots are there, in the same shard', () => {
    const shard = topology.shardOf(7);
    topology.redirected({ kind: 'moved', slot: 7, to: '10.0.0.1:6381' }, 'a');
    for (const slot of [0, 7, 99]) {
      expect(topology.ownerOf(slot)).toBe('c');
      expect(topology.shardOf(slot)).toBe(shard);
    }
    expect(topology.health()).toHaveLength(2);
  });

  it('asks often while a slot is on its way, and not for ever after', async () => {
    // The masters, which nobody can reach here, would ask before each try to connect.
    for (const { master } of [topology.shardOf(0)!, topology.shardOf(100)!]) await master.close();
    const count = async (ms: number): Promise<number> => {
      const before = servers.questions;
      await clock.advance(ms);
      return servers.questions - before;
    };
    const calm = await count(10_000);
    // A question is out each time that somebody is sent away.
    servers.onQuestion = () => topology.redirected({ kind: 'split' }, 'a');
    await clock.advance(1_000);
    expect(await count(1_000)).toBeGreaterThan(calm / 2);
    servers.onQuestion = () => {};
    await clock.advance(1_000);
    expect(await count(10_000)).toBeLessThanOrEqual(calm * 1.1);
  });
});
