import { startReplication, type Replication } from './replication.js';
import { until } from './eventually.js';

describe('a master with replicas', () => {
  let redis: Replication;
  beforeEach(async () => {
    redis = await startReplication({ replicas: 2 });
  });
  afterEach(() => redis.dispose());

  it('has its write acknowledged by every replica from the start', async () => {
    const client = redis.master.client();
    await client.set('a', '1');
    expect(await client.wait(2, 1_000)).toBe(2);
    expect(await redis.replica(0).call('GET', 'a')).toBe('1');
  });

  it('counts a replica that joins later, and no longer one that is stopped', async () => {
    await redis.addReplica();
    const client = redis.master.client();
    await client.set('a', '1');
    expect(await client.wait(3, 1_000)).toBe(3);
    await redis.replica(0).stop();
    await client.set('a', '2');
    expect(await client.wait(3, 200)).toBe(2);
    redis.replica(0).resume();
    await redis.waitUntilOnline();
  });

  it('notices at once that a replica was killed', async () => {
    await redis.replica(1).kill();
    await until(async () => (await redis.master.info('replication'))['connected_slaves'] === '1', {
      what: 'the killed replica is off the list',
    });
  });
});
