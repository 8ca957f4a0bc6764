import { afterEach, describe, expect, it } from '@jest/globals';
import { until } from '../../../support/eventually.js';
import { majorVersion, startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
afterEach(() => stores.closeAll());

/** An address for documentation (RFC 5737): no route leads there. */
const NOWHERE = '192.0.2.1';

/** A Cluster of one server. */
async function startNode(ip: string, hostname: string, endpoint: string): Promise<RedisProcess> {
  const node = await startRedis(
    {
      'cluster-enabled': 'yes',
      'cluster-announce-ip': ip,
      'cluster-announce-hostname': hostname,
      'cluster-preferred-endpoint-type': endpoint,
    },
    'cluster',
  );
  await node.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
  await until(async () => String(await node.call('CLUSTER', 'INFO')).includes('cluster_state:ok'), {
    within: 10_000,
    what: 'the node serves all slots',
  });
  return node;
}

const describeWithHostnames = majorVersion() >= 7 ? describe : describe.skip;

describeWithHostnames('A Cluster whose announced IP addresses lead nowhere from here', () => {
  it('is reached by its host names if its servers prefer those', async () => {
    await using node = await startNode(NOWHERE, 'localhost', 'hostname');
    const store = stores.open({ nodes: [{ host: '127.0.0.1', port: node.port }] }, { allowNoReplicas: true });
    await take(store, 'k');
    expect(store.health().masters[0]?.address).toBe(`localhost:${node.port}`);
    await stores.closeAll();
  });

  it.each(['hostname', 'ip'])(
    'is reached at the addresses to which natMap maps its host names (preferred: %s)',
    async (endpoint) => {
      await using node = await startNode(NOWHERE, 'redis-1.internal', endpoint);
      const { port } = node;
      const natMap = { [`redis-1.internal:${port}`]: { host: '127.0.0.1', port } };
      const store = stores.open(
        { nodes: [{ host: '127.0.0.1', port }], options: { natMap } },
        { allowNoReplicas: true },
      );
      await take(store, 'k');
      expect(store.health().masters[0]?.address).toBe(`127.0.0.1:${port}`);
      await stores.closeAll();
    },
  );
});

describeWithHostnames('A Cluster whose servers announce host names', () => {
  it('is reached by its IP addresses if its servers prefer those', async () => {
    await using node = await startNode('127.0.0.1', 'redis-1.invalid', 'ip');
    const store = stores.open({ nodes: [{ host: '127.0.0.1', port: node.port }] }, { allowNoReplicas: true });
    await take(store, 'k');
    await stores.closeAll();
  });
});
