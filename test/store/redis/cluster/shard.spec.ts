import { describe, expect, it } from '@jest/globals';
import type { ClusterNode } from '../../../../lib/store/redis/cluster/cluster-nodes.js';
import { Shard, type ShardCluster } from '../../../../lib/store/redis/cluster/shard.js';
import type { Master } from '../../../../lib/store/redis/master/master.js';
import { AnnouncedReplicas } from '../../../../lib/store/redis/replication/known-replicas.js';

const MINUTE = 60_000;

function node(id: string, role: { of?: string; failed?: boolean; port?: number } = {}): ClusterNode {
  return {
    id,
    identity: `10.0.0.1:${role.port ?? id.charCodeAt(0)}`,
    hostname: undefined,
    isMyself: false,
    isMaster: role.of === undefined,
    isFailed: role.failed ?? false,
    isReached: !(role.failed ?? false),
    isSuspected: role.failed ?? false,
    heardAt: 1,
    masterId: role.of,
    epoch: 1,
    slots: [],
  };
}

/** The shard of master `a`, with a Cluster that needs no answer. */
function shardOfA(): { shard: Shard; replicas: AnnouncedReplicas; replacements: () => number } {
  let replacements = 0;
  const replicas = new AnnouncedReplicas();
  const master: Pick<Master, 'replaced'> = { replaced: () => replacements++ };
  const cluster: ShardCluster = {
    ownerOf: () => 'a',
    onRedirection: () => {},
    handOver: () => {},
    whyUnserved: () => undefined,
    reach: ({ identity }) => ({ host: 'h', port: Number(identity.split(':')[1]) }),
    mayGrant: () => true,
    rangesOf: () => '0-5',
    refresh: () => Promise.resolve(),
  };
  return {
    shard: new Shard(node('a'), replicas, cluster, () => master as Master),
    replicas,
    replacements: () => replacements,
  };
}

const owners = (...ids: string[]): Map<string, number> => new Map(ids.map((id) => [id, 5]));
const replicas = (...ids: string[]): Set<string> => new Set(ids.map((id) => node(id).identity));

describe('The servers of a shard', () => {
  it('are the replicas of the master, and no server of another shard', () => {
    const { shard, replicas: known } = shardOfA();
    shard.setNodes(
      [node('a'), node('b', { of: 'a' }), node('x'), node('y', { of: 'x' })],
      owners('a', 'x'),
      0,
    );
    expect(known.addresses).toEqual(replicas('b'));
  });

  it('include the dead former master, as long as the Cluster lists it', () => {
    const { shard, replicas: known, replacements } = shardOfA();
    shard.setNodes([node('a'), node('b', { of: 'a' }), node('c', { of: 'a' })], owners('a'), 0);
    shard.failOverTo(node('b'));
    expect(replacements()).toBe(1);
    const after = [node('a', { failed: true }), node('b'), node('c', { of: 'b' })];
    for (let at = 1_000; at <= 5 * MINUTE; at += 1_000) shard.setNodes(after, owners('b'), at);
    expect(known.addresses).toEqual(replicas('a', 'c'));
  });

  it('lose the dead former master a minute after the Cluster was made to forget it', () => {
    const { shard, replicas: known } = shardOfA();
    shard.setNodes([node('a'), node('b', { of: 'a' })], owners('a'), 0);
    shard.failOverTo(node('b'));
    shard.setNodes([node('b')], owners('b'), 1_000);
    shard.setNodes([node('b')], owners('b'), 1_000 + MINUTE - 1);
    expect(known.addresses).toEqual(replicas('a'));
    shard.setNodes([node('b')], owners('b'), 1_000 + MINUTE);
    expect(known.addresses).toEqual(replicas());
  });

  it('lose a replica a minute after it was given to another shard, or got slots of its own', () => {
    for (const b of [node('b', { of: 'x' }), node('b')]) {
      const { shard, replicas: known } = shardOfA();
      shard.setNodes([node('a'), node('b', { of: 'a' })], owners('a', 'x'), 0);
      const after = [node('a'), b, node('x')];
      shard.setNodes(after, owners('a', 'x', 'b'), 1_000);
      expect(known.addresses).toEqual(replicas('b'));
      shard.setNodes(after, owners('a', 'x', 'b'), 1_000 + MINUTE);
      expect(known.addresses).toEqual(replicas());
    }
  });

  it('lose a replica that was made a master of its own without slots: it was never their master', () => {
    const { shard, replicas: known } = shardOfA();
    shard.setNodes([node('a'), node('b', { of: 'a' }), node('c', { of: 'a' })], owners('a'), 0);
    const after = [node('a'), node('b'), node('c', { of: 'a' })];
    shard.setNodes(after, owners('a'), 1_000);
    shard.setNodes(after, owners('a'), 1_000 + MINUTE);
    expect(known.addresses).toEqual(replicas('c'));
  });

  it('lose a former master that was attached elsewhere, or got slots of its own', () => {
    for (const a of [node('a', { of: 'x' }), node('a')]) {
      const { shard, replicas: known } = shardOfA();
      shard.setNodes([node('a'), node('b', { of: 'a' })], owners('a', 'x'), 0);
      shard.failOverTo(node('b'));
      const slots = a.isMaster ? owners('b', 'x', 'a') : owners('b', 'x');
      shard.setNodes([a, node('b'), node('x')], slots, 1_000);
      shard.setNodes([a, node('b'), node('x')], slots, 1_000 + MINUTE);
      expect(known.addresses).toEqual(replicas());
    }
  });

  it('include a replica that still follows the dead master, and has not heard of the new one', () => {
    const { shard, replicas: known } = shardOfA();
    shard.setNodes([node('a'), node('b', { of: 'a' }), node('c', { of: 'a' })], owners('a'), 0);
    shard.failOverTo(node('b'));
    const after = [node('a', { failed: true }), node('b'), node('c', { of: 'a' })];
    for (let at = 1_000; at <= 2 * MINUTE; at += 1_000) shard.setNodes(after, owners('b'), at);
    expect(known.addresses).toEqual(replicas('a', 'c'));
  });

  it('stay the same while only a server that knows no other server can be asked', () => {
    const { shard, replicas: known } = shardOfA();
    shard.setNodes([node('a'), node('b', { of: 'a' })], owners('a'), 0);
    for (let at = 1_000; at <= 2 * MINUTE; at += 1_000) shard.setNodes([node('x')], owners('a'), at);
    shard.setNodes([node('a')], owners('a'), 2 * MINUTE + 1_000);
    expect(known.addresses).toEqual(replicas('b'));
  });

  it('are not counted before a view has named them', async () => {
    const { shard } = shardOfA();
    await expect(shard.locate()).rejects.toMatchObject({ message: expect.stringMatching(/replicas/) });
    shard.setNodes([node('x')], owners('a', 'x'), 0);
    await expect(shard.locate()).rejects.toMatchObject({ message: expect.stringMatching(/replicas/) });
    shard.setNodes([node('a'), node('b', { of: 'a' })], owners('a'), 0);
    expect(await shard.locate()).toMatchObject({ identity: node('a').identity });
  });

  it('keep their master when it has another address', () => {
    const { shard, replicas: known, replacements } = shardOfA();
    shard.setNodes([node('a'), node('b', { of: 'a' })], owners('a'), 0);
    shard.setNodes([node('a', { port: 7_000 }), node('b', { of: 'a' })], owners('a'), 1_000);
    expect(replacements()).toBe(1);
    expect(shard.isCurrent('10.0.0.1:7000')).toBe(true);
    expect(known.addresses).toContain(node('b').identity);
  });
});
