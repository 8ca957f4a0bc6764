import { describe, expect, it } from '@jest/globals';
import type { Finding, Section } from '../../lib/cli/doctor/finding.js';
import { startCluster } from '../support/cluster.js';
import { commandLine, type Ran } from '../support/command-line.js';
import { until } from '../support/eventually.js';
import { startRedis, type RedisProcess } from '../support/redis-process.js';
import { startReplication } from '../support/replication.js';
import { startSentinels } from '../support/sentinels.js';

/** What the doctor finds nothing to say against, apart from links that have just been made. */
const GOOD = { appendonly: 'yes', 'min-replicas-to-write': 1 };

interface Diagnosed extends Ran {
  readonly verdict: string;
  readonly sections: readonly Section[];
  readonly findings: readonly Finding[];
}

async function diagnose(args: string[], env = {}): Promise<Diagnosed> {
  const ran = await commandLine(['doctor', '--json', ...args], env);
  expect(ran.err).toBe('');
  const { verdict, sections } = JSON.parse(ran.out) as Pick<Diagnosed, 'verdict' | 'sections'>;
  return { ...ran, verdict, sections, findings: sections.flatMap(({ findings }) => findings) };
}

/** The checks with this level, without what every new server has: young links. */
function checksOf({ findings }: Diagnosed, level: Finding['level']): string[] {
  const checks = findings.filter((finding) => finding.level === level).map(({ check }) => check);
  return [...new Set(checks)].filter((check) => check !== 'links').toSorted();
}

/** Waits until nothing is wrong: on a busy machine a healthy replica may be silent for seconds. */
async function untilContent(args: string[]): Promise<Diagnosed> {
  let found = await diagnose(args);
  const complaints = (): string[] => [...checksOf(found, 'problem'), ...checksOf(found, 'warning')];
  await until(async () => complaints().length === 0 || ((found = await diagnose(args)), false), {
    within: 10_000,
    what: 'the doctor is content',
  }).catch(() => expect(complaints()).toEqual([]));
  return found;
}

function textOf({ findings }: Diagnosed, check: string): string {
  return findings
    .filter((finding) => finding.check === check)
    .map(({ level, text, advice }) => `${level}: ${text} ${advice ?? ''}`)
    .join('\n');
}

async function connectionsOf(redis: RedisProcess): Promise<number> {
  const list = String(await redis.call('CLIENT', 'LIST', 'TYPE', 'normal'));
  return list
    .trim()
    .split('\n')
    .filter((each) => each.includes('name=replica-lock')).length;
}

describe('nestjs-replica-lock doctor', () => {
  it('is content with a master and two replicas that are set up well, and leaves nothing behind', async () => {
    await using redis = await startReplication({ replicas: 2, config: GOOD });
    const found = await untilContent(['--url', redis.url]);
    // The links of a new master are young.
    expect([found.code, found.verdict]).toEqual([4, 'warning']);
    expect(textOf(found, 'links')).toMatch(/A replication link is only \d+ s old/);
    expect(found.sections.map(({ title }) => title).toSorted()).toEqual([
      'Clocks',
      `Master ${redis.master.address}`,
      ...redis.replicas.map(({ address }) => `Replica ${address}`).toSorted(),
    ]);
    expect(textOf(found, 'confirmation')).toMatch(/confirmed by 2 of 2 replicas after/);
    expect(textOf(found, 'own-clock')).toMatch(/agrees/);
    for (const server of [redis.master, ...redis.replicas]) {
      expect(await server.call('KEYS', '*')).toEqual([]);
      await until(async () => (await connectionsOf(server)) === 0, { what: 'all connections are closed' });
    }
  });

  it('prints the same for people, with what to do', async () => {
    await using redis = await startRedis();
    const { code, out, err } = await commandLine(['doctor', '--url', redis.url]);
    expect([code, err]).toEqual([1, '']);
    expect(out).toMatch(new RegExp(`^Master ${redis.address}\n {2}ok {7}version`));
    expect(out).toMatch(/problem {2}replicas {8}The master has no replica.*\n {27}Attach two replicas\./);
    expect(out).toMatch(/\nThis Redis cannot keep what locks promise: 1 problem, \d warnings?\.\n$/);
  });

  it('finds what is wrong with a master: eviction, memory, min-replicas, no persistence', async () => {
    await using redis = await startReplication({ replicas: 1 });
    const { master } = redis;
    for (const [name, value] of [
      ['maxmemory', '100mb'],
      ['maxmemory-policy', 'allkeys-lru'],
      ['min-replicas-to-write', '2'],
      ['repl-timeout', '300'],
    ] as const)
      await master.call('CONFIG', 'SET', name, value);
    const found = await diagnose(['--url', redis.url]);
    expect(found).toMatchObject({ code: 1, verdict: 'problem' });
    expect(checksOf(found, 'problem')).toEqual(['eviction', 'min-replicas', 'write']);
    expect(checksOf(found, 'warning')).toEqual(['persistence', 'repl-timeout', 'replicas']);
    expect(textOf(found, 'write')).toMatch(/NOREPLICAS.*restore replicas/);
    expect(textOf(found, 'persistence')).toMatch(/comes back empty/);
  });

  it('finds a replica that hangs, and one with another priority or a broken link', async () => {
    await using redis = await startReplication({ replicas: 2, config: GOOD });
    const [one, two] = [redis.replica(0), redis.replica(1)];
    await one.call('CONFIG', 'SET', 'replica-priority', '7');
    await two.stop();
    await until(
      async () =>
        Number(
          /lag=(\d+)/.exec(
            (await redis.master.info('replication'))[await slaveOf(redis.master, two)] ?? '',
          )?.[1],
        ) > 3,
      { within: 10_000, what: 'the master notices the silence' },
    );
    const found = await diagnose(['--url', redis.url]);
    expect(checksOf(found, 'problem')).toEqual(['confirmation', 'replica-state']);
    // This process cannot ask it either. On a plain connection the library never does.
    expect(checksOf(found, 'warning')).toEqual(['connection']);
    expect(textOf(found, 'confirmation')).toMatch(/confirmed by 1 of 2 replicas/);
    two.resume();
    await two.call('CONFIG', 'SET', 'masterauth', 'wrong');
    await until(
      async () => checksOf(await diagnose(['--url', redis.url]), 'warning').includes('replica-priority'),
      {
        within: 10_000,
        what: 'the replica answers again',
      },
    );
  }, 40_000);

  it('names the rights that are missing, on the replicas as well', async () => {
    await using redis = await startReplication({ replicas: 2, config: GOOD });
    const user = ['reader', 'on', '>secret', '~lock:*', '&*', '+@all'];
    for (const server of [redis.master, redis.replica(0)])
      await server.call(
        'ACL',
        'SETUSER',
        ...user,
        '-wait',
        '-hset',
        '-scan',
        '-client|kill',
        '-subscribe',
        '-acl',
        '-config',
      );
    const env = { REPLICA_LOCK_USERNAME: 'reader', REPLICA_LOCK_PASSWORD: 'secret' };
    const found = await diagnose(['--url', redis.url], env);
    expect(found.code).toBe(1);
    const rights = found.sections
      .slice(0, 3)
      .map((section) => textOf({ ...found, findings: section.findings }, 'rights'));
    const withRights = rights.filter((text) => text !== '');
    expect(withRights).toHaveLength(2);
    for (const text of withRights) {
      expect(text).toMatch(/problem: The user .* may not run wait: locks are refused/);
      expect(text).toMatch(/warning: Without hset, locks with a limit/);
      expect(text).toMatch(/warning: Without scan, the keys cannot be listed/);
      expect(text).toMatch(/warning: Without client\|kill/);
      expect(text).toMatch(/warning: Without subscribe/);
    }
    // The second replica does not know the user.
    expect(textOf(found, 'connection')).toMatch(/warning: .*WRONGPASS/);
    expect(found.out).not.toContain('secret');
    for (const key of (await redis.master.call('KEYS', '*')) as string[])
      expect(await redis.master.call('PTTL', key)).toBeGreaterThan(0);
    const other = await diagnose(['--url', redis.url, '--key-prefix', 'shop:'], env);
    expect(textOf(other, 'rights')).toMatch(/may not use keys that begin with 'shop:'/);
  });

  it('accepts the user that the documentation lists', async () => {
    await using redis = await startReplication({ replicas: 2, config: GOOD });
    const { readFileSync } = await import('node:fs');
    const page = readFileSync('docs/production.md', 'utf8');
    const rights = [...page.matchAll(/^ACL SETUSER locks (.*)$/gm)].flatMap(([, list = '']) =>
      list.split(' '),
    );
    for (const server of [redis.master, ...redis.replicas])
      await server.call('ACL', 'SETUSER', 'locks', ...rights);
    const found = await diagnose(['--url', `redis://locks@${redis.master.address}`], {
      REPLICA_LOCK_PASSWORD: 'secret',
    });
    expect(checksOf(found, 'problem')).toEqual([]);
    expect(textOf(found, 'rights')).not.toMatch(/warning/);
  });

  it('finds commands that were renamed', async () => {
    await using redis = await startRedis({
      ...GOOD,
      'rename-command': ['WAIT ""', 'HGETALL ""', 'CONFIG ""'],
    });
    const found = await diagnose(['--url', redis.url]);
    expect(found.code).toBe(1);
    expect(textOf(found, 'commands')).toMatch(/does not know wait: removed, renamed/);
    expect(textOf(found, 'rights')).toMatch(/Without hgetall, locks with a limit/);
  });

  it('says if the address leads to a replica, a Sentinel, a node of a Cluster, or nowhere', async () => {
    await using sentinels = await startSentinels({ replicas: 1 });
    await using node = await startRedis({ 'cluster-enabled': 'yes' }, 'cluster');
    const [replica] = await sentinels.replicas();
    const at = (server: RedisProcess): Promise<Diagnosed> => diagnose(['--url', server.url]);
    const follower = await at(replica!);
    expect(textOf(follower, 'role')).toMatch(/It is no master but a replica/);
    expect(follower).toMatchObject({ code: 1 });
    expect(textOf(await at(sentinels.sentinels[0]!), 'mode')).toMatch(/It is a Sentinel.*--sentinel/);
    expect(textOf(await at(node), 'mode')).toMatch(/It is a node of a Redis Cluster.*--nodes/);
    const nowhere = await diagnose(['--url', 'redis://127.0.0.1:1']);
    expect(nowhere).toMatchObject({ code: 3, verdict: 'problem' });
    expect(textOf(nowhere, 'connection')).toMatch(/cannot be asked from here: .*ECONNREFUSED/);
    const unknown = await diagnose(['--sentinel', sentinels.sentinels[0]!.address, '--master', 'other']);
    expect(unknown.code).toBe(3);
    expect(textOf(unknown, 'sentinels')).toMatch(/No such master/);
  }, 30_000);

  it('does not say that locks can be kept if no node of a Cluster can be asked', async () => {
    await using redis = await startRedis(GOOD);
    for (const nodes of [redis.address, `127.0.0.1:1,${redis.address}`]) {
      const found = await diagnose(['--nodes', nodes]);
      expect(found).toMatchObject({ code: 3, verdict: 'problem' });
      expect(textOf(found, 'connection')).toMatch(/^problem: .*cluster support disabled/m);
    }
  });

  it('keeps its own words if the password is one of them', async () => {
    await using redis = await startRedis({ ...GOOD, requirepass: 'ok' });
    const found = await diagnose(['--url', redis.url], { REPLICA_LOCK_PASSWORD: 'ok' });
    expect(found.sections.flatMap(({ findings }) => findings.map(({ level }) => level))).toContain('ok');
  });

  it('examines the Sentinels, the master that they name, and every replica', async () => {
    await using sentinels = await startSentinels({ config: GOOD, downAfter: 3_000 });
    const list = sentinels.sentinels.map(({ address }) => address);
    const all = ['--sentinel', list.join(','), '--master', 'mymaster'];
    const found = await untilContent(all);
    expect(found.sections.map(({ title }) => title.split(' ')[0])).toEqual([
      'Sentinels',
      'Master',
      'Replica',
      'Replica',
      'Clocks',
    ]);
    const one = await diagnose(['--sentinel', list[0]!, '--master', 'mymaster']);
    expect(textOf(one, 'sentinels')).toMatch(/know 3 Sentinels, and the connection names 1/);

    for (const sentinel of sentinels.sentinels)
      for (const [name, value] of [
        ['down-after-milliseconds', '30000'],
        ['quorum', '4'],
        ['failover-timeout', '1000'],
      ] as const)
        await sentinel.call('SENTINEL', 'SET', 'mymaster', name, value);
    const [dead] = await sentinels.replicas();
    await dead!.kill();
    await sentinels.sentinels[2]!.kill();
    await until(
      async () => (await (await sentinels.master()).info('replication'))['connected_slaves'] === '1',
      { what: 'the master has noticed' },
    );
    const bad = await diagnose(all);
    expect(bad.code).toBe(1);
    expect(checksOf(bad, 'problem')).toEqual(['connection', 'quorum', 'replica-state', 'sentinels']);
    expect(checksOf(bad, 'warning')).toEqual(['down-after', 'failover-timeout', 'min-replicas', 'replicas']);
    expect(textOf(bad, 'sentinels')).toMatch(/cannot be asked: .*ECONNREFUSED/);
    expect(textOf(bad, 'replica-state')).toContain(dead!.address);
  }, 40_000);

  it('examines every shard of a Cluster', async () => {
    await using cluster = await startCluster({ masters: 3, replicas: 2, config: GOOD });
    const found = await untilContent(['--nodes', cluster.nodes[4]!.address]);
    expect(found.sections.map(({ title }) => title.split(' ')[0])).toEqual([
      'Redis',
      ...Array.from({ length: 3 }, () => ['Master', 'Replica', 'Replica']).flat(),
      'Clocks',
    ]);
    expect(textOf(found, 'slots')).toMatch(/3 masters serve all 16384 slots/);
    expect(found.findings.filter(({ check }) => check === 'confirmation')).toHaveLength(3);

    for (const node of cluster.nodes) {
      await node.call('CONFIG', 'SET', 'cluster-require-full-coverage', 'yes');
      await node.call('CLUSTER', 'DELSLOTS', 0);
    }
    const bad = await diagnose(['--nodes', `127.0.0.1:1,${cluster.nodes[0]!.address}`]);
    expect(bad.code).toBe(1);
    expect(textOf(bad, 'slots')).toMatch(/1 of 16384 slots have no master/);
    expect(checksOf(bad, 'warning')).toEqual(['connection', 'full-coverage']);
    const none = await diagnose(['--nodes', '127.0.0.1:1']);
    expect(none.code).toBe(3);
  }, 60_000);
});

/** The field of INFO replication that is about this replica. */
async function slaveOf(master: RedisProcess, replica: RedisProcess): Promise<string> {
  const fields = Object.entries(await master.info('replication'));
  return (
    fields.find(([name, text]) => /^slave\d/.test(name) && text.includes(`port=${replica.port}`))?.[0] ?? ''
  );
}
