import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { clockFindings } from '../../lib/cli/doctor/clocks.js';
import { clusterFindings, clusterSettings } from '../../lib/cli/doctor/cluster.js';
import { worstOf, type Finding } from '../../lib/cli/doctor/finding.js';
import { replicationFindings, type MasterFacts } from '../../lib/cli/doctor/replication-findings.js';
import { missingIn, RIGHTS, rightsFindings, type Missing } from '../../lib/cli/doctor/rights.js';
import { sentinelFindings, settingsOf, type SentinelFacts } from '../../lib/cli/doctor/sentinel.js';
import {
  evictionFinding,
  latencyFinding,
  memoryFindings,
  persistenceFinding,
  versionFinding,
} from '../../lib/cli/doctor/server-findings.js';
import {
  linkFinding,
  namedReplicaFindings,
  placeFinding,
  priorityFindings,
  writeFindings,
} from '../../lib/cli/doctor/server-reports.js';
import type { ClusterNode } from '../../lib/store/redis/cluster/cluster-nodes.js';
import { parseReplicationInfo } from '../../lib/store/redis/replication/replication-info.js';
import { ErrorReply } from '../../lib/store/redis/resp.js';

const address = { host: '10.0.0.1', port: 6_379 };
/** A section of INFO. */
const info = (...fields: string[]): string => `# Section\r\n${fields.join('\r\n')}\r\n`;
const config = (settings: Record<string, string>): Map<string, string> => new Map(Object.entries(settings));
/** The worst finding of a check. */
const levelOf = (findings: readonly Finding[], check: string): string | undefined =>
  findings.find((finding) => finding.check === check)?.level;

function expectAdvice(findings: readonly Finding[]): void {
  for (const { level, text, advice } of findings) {
    expect(text).toMatch(/\.$/);
    if (level === 'ok') expect(advice).toBeUndefined();
    else expect(advice).toMatch(/\.$/);
  }
}

describe('The doctor on a server', () => {
  it.each([
    ['redis_version:7.0.15', 'ok', 'Redis 7.0.15.'],
    ['redis_version:6.2.0', 'ok', 'Redis 6.2.0.'],
    ['redis_version:6.0.16', 'problem', 'Redis 6.0.16.'],
    ['redis_version:10.1.0', 'ok', 'Redis 10.1.0.'],
    ['redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.0.1', 'ok', 'Valkey 9.0.1.'],
    ['os:Linux', 'warning', 'The server does not tell its version.'],
  ])('reads the version: %j', (fields, level, text) => {
    expect(versionFinding({ info: info(fields) })).toMatchObject({ level, text });
  });

  it('does not call eviction ruled out if the server does not tell', () => {
    const finding = evictionFinding({ address, info: info('used_memory:1') });
    expect(finding).toMatchObject({ level: 'warning', text: expect.stringMatching(/does not tell/) });
    expectAdvice([finding]);
  });

  it.each([
    ['0', 'allkeys-lru', 'ok'],
    ['1000', 'noeviction', 'ok'],
    ['1000', 'volatile-ttl', 'problem'],
  ])('reads eviction: maxmemory %s, %s', (maxmemory, policy, level) => {
    const finding = evictionFinding({
      address,
      info: info(`maxmemory:${maxmemory}`, `maxmemory_policy:${policy}`),
    });
    expect(finding.level).toBe(level);
    if (level === 'problem') {
      expect(finding.text).toMatch(/10\.0\.0\.1:6379 has maxmemory-policy volatile-ttl.*held\.$/);
      expect(finding.advice).toMatch(/^Set maxmemory-policy to noeviction/);
    }
  });

  it.each([
    ['0', '950', undefined],
    ['1000', '800', undefined],
    ['1000', '950', 'warning'],
  ])('reads memory: maxmemory %s, used %s', (maxmemory, used, level) => {
    const findings = memoryFindings({ info: info(`used_memory:${used}`, `maxmemory:${maxmemory}`) });
    expect(findings[0]?.level).toBe(level);
  });

  it.each([
    [0.4, 'ok'],
    [99, 'ok'],
    [150, 'warning'],
  ])('judges a round trip of %d ms', (roundTrip, level) => {
    expect(latencyFinding({ clock: { offset: 0, roundTrip } }).level).toBe(level);
  });

  it.each<[number, Record<string, string>, string, RegExp]>([
    [1, { appendfsync: 'everysec' }, 'ok', /append-only file \(appendfsync everysec\)/],
    [1, {}, 'ok', /append-only file:/],
    [1, { appendfsync: 'no' }, 'warning', /when it likes/],
    [0, { save: '' }, 'warning', /Nothing is saved: a server that restarts comes back empty/],
    [0, { save: '3600 1' }, 'warning', /Only snapshots are saved \(save 3600 1\).*old data/],
    [0, {}, 'warning', /may not read the setting save/],
  ])('says what a restart means: aof_enabled %d, %j', (aof, settings, level, text) => {
    const finding = persistenceFinding({ info: info(`aof_enabled:${aof}`), config: config(settings) });
    expect(finding.level).toBe(level);
    expect(finding.text).toMatch(text);
    expectAdvice([finding]);
  });

  it.each<[string, boolean, string | undefined]>([
    ['standalone', false, undefined],
    ['cluster', true, undefined],
    ['cluster', false, 'mode'],
    ['sentinel', false, 'mode'],
  ])('notices a server of the wrong kind: %s', (mode, inCluster, check) => {
    const replication = parseReplicationInfo(info('role:master', 'master_replid:x', 'master_repl_offset:1'));
    for (const field of ['redis_mode', 'server_mode'])
      expect(placeFinding({ info: info(`${field}:${mode}`), replication }, inCluster)?.check).toBe(check);
  });

  it('notices a replica in the place of the master', () => {
    const replication = parseReplicationInfo(info('role:slave', 'master_replid:x', 'master_repl_offset:1'));
    const finding = placeFinding({ info: info('redis_mode:standalone'), replication }, false);
    expect(finding).toMatchObject({
      check: 'role',
      level: 'problem',
      text: expect.stringContaining('It is no master'),
    });
  });

  it.each([
    ['NOREPLICAS Not enough good replicas to write.', /refused: NOREPLICAS/, /restore replicas/i],
    ['MISCONF Redis is configured to save RDB snapshots', /refused: MISCONF/, /cannot save/],
    ['OOM command not allowed', /OOM/, /maxmemory/],
  ])('says why a write is refused: %s', (message, text, advice) => {
    const [finding] = writeFindings({ address, refusal: new ErrorReply(message) });
    expect(finding).toMatchObject({ level: 'problem', check: 'write' });
    expect(finding?.text).toMatch(text);
    expect(finding?.advice).toMatch(advice);
  });

  it('leaves missing rights and slots of other masters to other findings', () => {
    for (const message of ['NOPERM no', 'MOVED 1 a:1', 'ASK 1 a:1'])
      expect(writeFindings({ address, refusal: new ErrorReply(message) })).toEqual([]);
    expect(writeFindings({ address, refusal: undefined })).toEqual([]);
  });
});

const master = (lines: string[], rest: Partial<MasterFacts> = {}): MasterFacts => {
  const text = info(
    'role:master',
    ...lines.map((line, i) => `slave${i}:${line}`),
    'master_replid:x',
    'master_repl_offset:100',
  );
  return {
    address,
    replication: parseReplicationInfo(text),
    replicationText: text,
    links: lines.map((_, i) => `id=${i + 1} age=1000 flags=S cmd=replconf`).join('\n'),
    config: config({ 'min-replicas-to-write': '1', 'repl-timeout': '60' }),
    confirmation: { replicas: lines.length, time: 2 },
    ...rest,
  };
};
const line = (port: number, state = 'online', lag = 0): string =>
  `ip=10.0.0.2,port=${port},state=${state},offset=100,lag=${lag}`;

describe('The doctor on replication', () => {
  it('is content with two replicas that confirm', () => {
    const findings = replicationFindings(master([line(1), line(2)]), false);
    expect(worstOf([{ title: '', findings }])).toBe('ok');
    expect(findings.map(({ check }) => check)).toEqual(['replicas', 'confirmation', 'min-replicas']);
  });

  it.each<[string, MasterFacts, string, string]>([
    ['no replica', master([]), 'replicas', 'problem'],
    ['one replica', master([line(1)]), 'replicas', 'warning'],
    ['three replicas', master([line(1), line(2), line(3)]), 'replicas', 'warning'],
    ['hidden INFO', master([], { replication: undefined }), 'replicas', 'problem'],
    ['a replica in full sync', master([line(1), line(2, 'send_bulk')]), 'replica-state', 'problem'],
    ['a silent replica', master([line(1), line(2, 'online', 5)]), 'replica-state', 'problem'],
    ['a shared address', master([line(1), line(1)]), 'addresses', 'problem'],
    ['a young link', master([line(1), line(2)], { links: 'id=1 age=1000\nid=2 age=3' }), 'links', 'warning'],
    [
      'a write that half of the replicas confirm',
      master([line(1), line(2)], { confirmation: { replicas: 1, time: 1_000 } }),
      'confirmation',
      'problem',
    ],
    [
      'too many min-replicas-to-write',
      master([line(1), line(2)], { config: config({ 'min-replicas-to-write': '3' }) }),
      'min-replicas',
      'problem',
    ],
    [
      'min-replicas-to-write without a spare',
      master([line(1), line(2)], { config: config({ 'min-replicas-to-write': '2' }) }),
      'min-replicas',
      'warning',
    ],
    [
      'no min-replicas-to-write',
      master([line(1), line(2)], { config: config({ 'min-replicas-to-write': '0' }) }),
      'min-replicas',
      'warning',
    ],
    [
      'a long repl-timeout',
      master([line(1), line(2)], { config: config({ 'repl-timeout': '3600' }) }),
      'repl-timeout',
      'warning',
    ],
  ])('notices %s', (_, facts, check, level) => {
    const findings = replicationFindings(facts, false);
    expect(levelOf(findings, check)).toBe(level);
    expectAdvice(findings);
  });

  it('gives the advice that fits the number of confirmations', () => {
    const adviceFor = (replicas: number): string | undefined =>
      replicationFindings(master([line(1), line(2)], { confirmation: { replicas, time: 1 } }), false).find(
        ({ check }) => check === 'confirmation',
      )?.advice;
    expect(adviceFor(1)).toMatch(/only with replicas: 'majority'/);
    expect(adviceFor(0)).toMatch(/no lock is granted/);
  });

  it('ignores settings that it may not read', () => {
    const findings = replicationFindings(master([line(1), line(2)], { config: config({}) }), false);
    expect(findings.map(({ check }) => check)).toEqual(['replicas', 'confirmation']);
  });

  it.each([
    ['master_link_status:up', 'ok', /is up/],
    ['master_link_status:down\r\nmaster_link_down_since_seconds:7', 'problem', /is down for 7 s/],
    ['role:master', 'problem', /does not say that it follows/],
  ])('reads the link of a replica: %j', (fields, level, text) => {
    const finding = linkFinding({ replicationText: info('master_host:a', 'master_port:1', fields) });
    expect(finding.level).toBe(level);
    expect(finding.text).toMatch(text);
  });

  it('compares the replicas with those that Sentinel or the Cluster names', () => {
    const facts = master([line(1), line(2)]);
    const named = (...ports: number[]): Set<string> => new Set(ports.map((port) => `10.0.0.2:${port}`));
    expect(namedReplicaFindings(facts, named(1, 2), false)).toEqual([]);
    const absent = namedReplicaFindings(facts, named(1, 2, 3), false);
    expect(absent).toMatchObject([{ check: 'replica-state', text: expect.stringContaining('10.0.0.2:3') }]);
    const stranger = namedReplicaFindings(facts, new Set(['10.0.0.2:1', 'replica-2:2']), true);
    expect(stranger).toMatchObject([
      {
        check: 'addresses',
        text: expect.stringMatching(/10\.0\.0\.2:2.*the Redis Cluster does not name/),
        advice: expect.stringContaining('cluster-announce-ip'),
      },
    ]);
    expectAdvice([...absent, ...stranger]);
  });

  it('notices replicas of different priority', () => {
    const replica = (priority: number): { address: typeof address; replicationText: string } => ({
      address,
      replicationText: info(`slave_priority:${priority}`),
    });
    expect(priorityFindings([replica(100), replica(100)])).toEqual([]);
    expect(priorityFindings([replica(100), replica(0)])).toMatchObject([{ level: 'warning' }]);
  });
});

describe('The doctor on Sentinels', () => {
  const view = (port: number, rest: Partial<SentinelFacts> = {}): SentinelFacts => ({
    address: `s:${port}`,
    master: 'm:1',
    replicas: [],
    others: [1, 2, 3].filter((each) => each !== port).map((each) => `s:${each}`),
    flags: 'master',
    downAfter: 5_000,
    quorum: 2,
    failoverTimeout: 60_000,
    ...rest,
  });
  const three = [view(1), view(2), view(3)];

  it('is content with three that agree', () => {
    const findings = sentinelFindings(three, []);
    expect(worstOf([{ title: '', findings }])).toBe('ok');
    expect(new Set(findings.map(({ check }) => check))).toEqual(
      new Set(['sentinels', 'master', 'down-after', 'quorum', 'failover-timeout']),
    );
  });

  it.each<[string, SentinelFacts[], { address: string; reason: string }[], string, string]>([
    ['one that is silent', three.slice(1), [{ address: 's:1', reason: 'no answer' }], 'sentinels', 'problem'],
    ['only two', [view(1, { others: ['s:2'] }), view(2, { others: ['s:1'] })], [], 'sentinels', 'problem'],
    ['different masters', [view(1), view(2), view(3, { master: 'm:2' })], [], 'master', 'problem'],
    [
      'a master that is down',
      [view(1, { flags: 'master,s_down' }), view(2), view(3)],
      [],
      'master',
      'problem',
    ],
  ])('notices %s', (_, views, silent, check, level) => {
    const findings = sentinelFindings(views, silent);
    expect(findings.some((each) => each.check === check && each.level === level)).toBe(true);
    expectAdvice(findings);
  });

  it('notices Sentinels that the connection does not name', () => {
    const findings = sentinelFindings([view(1)], []);
    expect(findings.find(({ level }) => level === 'warning')).toMatchObject({
      check: 'sentinels',
      advice: expect.stringContaining('s:2, s:3'),
    });
  });

  it.each([
    [{ downAfter: 1_000 }, 3, 'down-after', 'warning'],
    [{ downAfter: 2_000 }, 3, 'down-after', 'ok'],
    [{ downAfter: 30_000 }, 3, 'down-after', 'warning'],
    [{ quorum: 4 }, 3, 'quorum', 'problem'],
    [{ quorum: 1 }, 3, 'quorum', 'warning'],
    [{ quorum: 2 }, 5, 'quorum', 'warning'],
    [{ quorum: 3 }, 5, 'quorum', 'ok'],
    [{ failoverTimeout: 180_000 }, 3, 'failover-timeout', 'ok'],
    [{ failoverTimeout: 600_000 }, 3, 'failover-timeout', 'warning'],
    [{ failoverTimeout: 1_000 }, 3, 'failover-timeout', 'warning'],
  ])('judges %j of %d Sentinels', (settings, total, check, level) => {
    const findings = settingsOf(view(1, settings), total);
    expect(levelOf(findings, check)).toBe(level);
    expectAdvice(findings);
  });
});

describe('The doctor on a Cluster', () => {
  const node = (rest: Partial<ClusterNode>): ClusterNode => ({
    id: 'a',
    identity: '10.0.0.1:1',
    hostname: undefined,
    isMyself: false,
    isMaster: true,
    isFailed: false,
    isReached: true,
    isSuspected: false,
    heardAt: 0,
    masterId: undefined,
    epoch: 1,
    slots: [],
    ...rest,
  });

  it('counts the slots, and names servers that are dead', () => {
    expect(clusterFindings([node({ slots: [[0, 16_383]] })])).toMatchObject([{ level: 'ok' }]);
    const findings = clusterFindings([
      node({
        slots: [
          [0, 99],
          [200, 16_383],
        ],
      }),
      node({ isFailed: true, isSuspected: true }),
      node({ isMaster: false, isSuspected: true, identity: 'b:1' }),
    ]);
    expect(findings.map(({ text }) => text)).toEqual([
      '100 of 16384 slots have no master: locks in these slots are refused.',
      'The master 10.0.0.1:1 is dead in the view of the Cluster.',
      'The replica b:1 is suspected to be dead in the view of the Cluster.',
    ]);
    expectAdvice(findings);
  });

  it.each<[Record<string, string>, string[]]>([
    [{ 'cluster-node-timeout': '4000', 'cluster-require-full-coverage': 'no' }, ['ok']],
    [{ 'cluster-node-timeout': '15000' }, ['warning']],
    [
      { 'cluster-require-full-coverage': 'yes', 'cluster-allow-replica-migration': 'yes' },
      ['warning', 'warning'],
    ],
    [{}, []],
  ])('judges the settings %j', (settings, levels) => {
    const findings = clusterSettings({ config: config(settings) });
    expect(findings.map(({ level }) => level)).toEqual(levels);
    expectAdvice(findings);
  });
});

describe('The doctor on clocks', () => {
  const server = (offset: number, roundTrip = 2) => ({ address, clock: { offset, roundTrip } });
  it.each([
    [[server(0), server(100)], 'clocks', 'ok'],
    [[server(0), server(700)], 'clocks', 'warning'],
    [[server(0), server(-1_500), server(10)], 'clocks', 'problem'],
    // The difference is not certain.
    [[server(0, 2_000), server(1_500, 2_000)], 'clocks', 'warning'],
    [[server(3)], 'clocks', undefined],
    [[server(3)], 'own-clock', 'ok'],
    [[server(60_000), server(60_000)], 'own-clock', 'warning'],
    [[server(60_000), server(60_000)], 'clocks', 'ok'],
    [[server(NaN, Infinity)], 'own-clock', undefined],
  ])('%j', (servers, check, level) => {
    const findings = clockFindings(servers);
    expect(levelOf(findings, check)).toBe(level);
    expectAdvice(findings);
  });
});

describe('The doctor on rights', () => {
  it('tries the rights that the documentation lists', () => {
    const page = readFileSync('docs/production.md', 'utf8');
    const listed = [...page.matchAll(/^ACL SETUSER locks (.*)$/gm)].flatMap(([, rights = '']) =>
      rights.split(' ').filter((right) => right.startsWith('+')),
    );
    const tried = RIGHTS.map(({ name }) => `+${name}`);
    // Used while connecting, or on a connection of its own.
    const elsewhere = ['+select', '+client|setname', '+subscribe'];
    expect([...tried.filter((name) => name !== '+cluster|nodes'), ...elsewhere].toSorted()).toEqual(
      listed.toSorted(),
    );
  });

  it.each([
    ["NOPERM User x has no permissions to run the 'get' command", 'right'],
    ["NOPERM this user has no permissions to run the 'client|list' command or its subcommand", 'right'],
    ['NOPERM No permissions to access a key', 'key'],
    ['NOPERM this user has no permissions to access one of the keys used as arguments', 'key'],
    ["ERR unknown command 'wait', with args beginning with: ", 'command'],
    ['ERR unknown command `wait`, with args beginning with: ', 'command'],
    ["ERR Unknown subcommand or wrong number of arguments for 'list'", 'command'],
    ["ERR unknown subcommand 'list'. Try CLIENT HELP.", 'command'],
    ['WRONGTYPE Operation against a key holding the wrong kind of value', undefined],
    ["READONLY You can't write against a read only replica.", undefined],
    ['MOVED 1 a:1', undefined],
    ['NOSCRIPT No matching script.', undefined],
    ['ERR WAIT cannot be used with replica instances.', undefined],
  ])('reads the reply %s', (message, cause) => {
    expect(missingIn({ name: 'x', need: 'locks' }, new ErrorReply(message))?.cause).toBe(cause);
  });

  it('names no user that it does not know in its advice', () => {
    const [{ text, advice } = { text: '' }] = rightsFindings(
      [{ name: 'get', need: 'locks', cause: 'right' }],
      undefined,
      'lock:',
    );
    expect(text).toMatch(/^The user of this connection may not run get/);
    expect(advice).toMatch(/^ACL SETUSER <user> \+get\./);
  });

  const missing = (name: string, cause: Missing['cause'] = 'right'): Missing => {
    const { need } = RIGHTS.find((right) => right.name === name)!;
    return { name, need, cause };
  };
  it.each<[Missing[], string, string, RegExp, RegExp]>([
    [
      [missing('eval'), missing('get')],
      'rights',
      'problem',
      /may not run eval, get/,
      /ACL SETUSER me \+eval \+get\./,
    ],
    [[missing('wait', 'command')], 'commands', 'problem', /does not know wait/, /rename-command/],
    [[missing('get', 'key')], 'rights', 'problem', /keys that begin with 'lock:'/, /~lock:\*/],
    [
      [missing('hset'), missing('del')],
      'rights',
      'warning',
      /Without hset, del, locks with a limit/,
      /\+hset \+del/,
    ],
    [[missing('scan')], 'rights', 'warning', /cannot be listed/, /\+scan/],
    [[missing('client|kill')], 'rights', 'warning', /for one lease/, /\+client\|kill/],
    [[missing('mget', 'command')], 'rights', 'warning', /Without mget/, /rename-command/],
  ])('%j', (lacking, check, level, text, advice) => {
    const findings = rightsFindings(lacking, 'me', 'lock:');
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ check, level });
    expect(findings[0]!.text).toMatch(text);
    expect(findings[0]!.advice).toMatch(advice);
    expectAdvice(findings);
  });
});
