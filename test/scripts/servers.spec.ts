import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { exitCodeFor, planOf, runOnServers, SERVERS, tableOf, type Run } from '../../scripts/servers.mjs';

const own = String(Number.parseInt(process.versions.node, 10));
const all = Object.keys(SERVERS);

describe('what is run on which servers and releases of Node', () => {
  it.each([
    ['every server by default', ['test'], { servers: all, nodes: [own], args: [] }],
    [
      'one server, with arguments of the command on both sides',
      ['test', 'test/store', '--server', 'valkey-9.1', '-t', 'a lock'],
      { servers: ['valkey-9.1'], nodes: [own], args: ['test/store', '-t', 'a lock'] },
    ],
    [
      'the usual server if only releases of Node are named',
      ['test', '--node', '22', '--node=24'],
      { servers: ['usual'], nodes: ['22', '24'], args: [] },
    ],
    [
      'each named server on each named release',
      ['test', '--server=redis-8.0', '--server', 'usual', '--node', '26', '--results', 'file'],
      { servers: ['redis-8.0', 'usual'], nodes: ['26'], args: [], results: 'file' },
    ],
  ])('is %s', (_, args, plan) => {
    expect(planOf(args, ['test', 'campaign'])).toEqual({ command: 'test', ...plan });
  });

  it.each([
    [[], 'Usage: npm run servers -- test|campaign'],
    [['nothing'], 'Usage: npm run servers -- test|campaign'],
    [
      ['test', '--server', 'redis-5'],
      "--server needs one of usual, redis-8.0, valkey-8.0, valkey-8.1, valkey-9.1, not 'redis-5'",
    ],
    [['test', '--server', 'toString'], "not 'toString'"],
    [['test', '--server'], "not ''"],
    [['test', '--node', 'latest'], "--node needs a release of Node such as 24, not 'latest'"],
  ])('is refused for %j', (args, message) => {
    expect(() => planOf(args, ['test', 'campaign'])).toThrow(message);
  });
});

const good: Run = { server: 'redis-8.0', version: '8.0.2', node: '24.0.0', passed: 12, failed: 0 };
const bad: Run = { ...good, server: 'valkey-8.1', version: '8.1.1', passed: 9, failed: 3 };
const missing: Run = { server: 'redis-8.0', version: '', node: '24', failed: 0, notRun: 'no network' };
const missingSid: Run = { ...missing, server: 'valkey-9.1', mayBeMissing: true };

describe('the exit code', () => {
  it.each([
    ['0 if all passed', [good, good], 0],
    ['1 if something failed', [good, bad], 1],
    ['1 if a server could not be had', [good, missing], 1],
    ['0 if only a server that may be missing could not be had', [good, missingSid], 0],
    ['1 if nothing ran at all', [missingSid], 1],
  ])('is %s', (_, runs, code) => {
    expect(exitCodeFor(runs)).toBe(code);
  });
});

it('tells a server that was not run from one that passed', () => {
  const uncounted: Run = { server: 'redis-8.0', version: '8.0.2', node: '24.0.0', failed: 0 };
  expect(tableOf([good, bad, missingSid, uncounted])).toBe(
    [
      'server      version  Node    passed   failed',
      'redis-8.0   8.0.2    24.0.0  12       0',
      'valkey-8.1  8.1.1    24.0.0  9        3',
      'valkey-9.1  -        24      not run  no network',
      'redis-8.0   8.0.2    24.0.0  -        0',
    ].join('\n'),
  );
});

describe('a run', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'servers-spec-'));
    mkdirSync(join(root, 'scripts'));
    jest.spyOn(console, 'log').mockImplementation(() => {});
    jest.spyOn(console, 'error').mockImplementation(() => {});
  });
  afterEach(() => {
    jest.restoreAllMocks();
    rmSync(root, { recursive: true, force: true });
  });

  /** A server that only says its version. */
  function unpacked(name: string, version: string): string {
    const folder = join(root, '.cache', 'servers', name);
    mkdirSync(folder, { recursive: true });
    const file = join(folder, 'redis-server');
    writeFileSync(file, `#!/bin/sh\necho server v=${version} sha=0\n`);
    chmodSync(file, 0o755);
    return file;
  }

  /** In place of scripts/run.mjs. */
  const command = (program: string): void => writeFileSync(join(root, 'scripts', 'run.mjs'), program);
  const results = (): Run[] => JSON.parse(readFileSync(join(root, 'results'), 'utf8')) as Run[];
  const run = (...args: string[]): Promise<number> =>
    runOnServers(root, planOf([...args, '--results', join(root, 'results')], ['test', 'campaign']), () =>
      Promise.reject(new Error('the archive is down')),
    );

  it('names the server to the command and counts what the tests say', async () => {
    const server = unpacked('redis-8.0', '8.0.9');
    command(`
      import { writeFileSync } from 'node:fs';
      const [, , name, part, , output] = process.argv;
      if (name !== 'test' || part !== 'test/store' || process.env.REDIS_SERVER !== ${JSON.stringify(server)}) process.exit(3);
      const counts = { numPassedTests: 7, numFailedTests: 1, numRuntimeErrorTestSuites: 1 };
      writeFileSync(output.slice('--outputFile='.length), JSON.stringify(counts));
      process.exitCode = 1;
    `);
    expect(await run('test', 'test/store', '--server', 'redis-8.0')).toBe(1);
    expect(results()).toEqual([
      { server: 'redis-8.0', version: '8.0.9', node: process.versions.node, passed: 7, failed: 2 },
    ]);
  });

  it('that ends before it has counted has failed', async () => {
    unpacked('redis-8.0', '8.0.9');
    command('process.exit(2)');
    expect(await run('test', '--server', 'redis-8.0')).toBe(1);
    expect(results()).toMatchObject([{ failed: 1 }]);
  });

  it('of another command passes by its exit code', async () => {
    unpacked('redis-8.0', '8.0.9');
    command('process.exit(0)');
    expect(await run('campaign', '--server', 'redis-8.0')).toBe(0);
    expect(results()).toMatchObject([{ failed: 0 }]);
  });

  it('says why a server cannot be had, and goes on with the next', async () => {
    unpacked('valkey-8.1', '8.1.9');
    command('process.exit(0)');
    expect(await run('campaign', '--server', 'redis-8.0', '--server', 'valkey-8.1')).toBe(1);
    expect(results()).toMatchObject([
      { server: 'redis-8.0', notRun: 'the archive is down' },
      { server: 'valkey-8.1', version: '8.1.9', failed: 0 },
    ]);
  });
});
