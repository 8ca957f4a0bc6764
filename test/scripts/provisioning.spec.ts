import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { dependenciesIn } from '../../scripts/apt.mjs';
import { whyStale } from '../../scripts/install.mjs';
import {
  aptWays,
  notFound,
  parseVersion,
  provideRedis,
  whatToInstall,
  whyUnusable,
} from '../../scripts/redis.mjs';

const debian = { platform: 'linux', isRoot: true, hasApt: true, osRelease: 'ID=debian\n' } as const;
const folder = (): string => mkdtempSync(join(tmpdir(), 'replica-lock-scripts-'));

describe('Whether the dependencies are installed', () => {
  const wanted = {
    packages: {
      '': {},
      'node_modules/a': { version: '1.0.0', integrity: 'x' },
      'node_modules/other-system': { version: '1.0.0', integrity: 'y', optional: true },
    },
  };
  it.each([
    [undefined, /not there/],
    [{ packages: {} }, /node_modules\/a is missing/],
    [
      { packages: { 'node_modules/a': { version: '0.9.0', integrity: 'x' } } },
      /is 0\.9\.0, package-lock\.json has 1\.0\.0/,
    ],
    [{ packages: { 'node_modules/a': { version: '1.0.0', integrity: 'z' } } }, /node_modules\/a/],
  ])('%j: they are not', (installed, reason) => {
    expect(whyStale(wanted, installed)).toMatch(reason);
  });

  it('they are, without what is for other systems', () => {
    expect(
      whyStale(wanted, { packages: { 'node_modules/a': { version: '1.0.0', integrity: 'x' } } }),
    ).toBeUndefined();
  });
});

describe('A redis-server', () => {
  it.each([
    [
      'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64',
      { major: 7, minor: 0, text: '7.0.15' },
    ],
    ['Server v=8.0.1 sha=00000000:0 malloc=libc bits=64', { major: 8, minor: 0, text: '8.0.1' }],
    ['bash: no such command', undefined],
  ])('%p is read', (text, version) => {
    expect(parseVersion(text)).toEqual(version);
  });

  it.each([
    ['6.0.16', /older than 6\.2/],
    ['5.0.7', /older than 6\.2/],
    ['6.2.0', undefined],
    ['7.0.15', undefined],
  ])('%s is %p', (text, reason) => {
    const why = whyUnusable('redis-server', parseVersion(`v=${text}`));
    if (reason === undefined) expect(why).toBeUndefined();
    else expect(why).toMatch(reason);
  });

  it('is installed as root, unpacked as anybody, and neither where there is no apt-get', () => {
    expect(aptWays(debian)).toEqual(['install', 'unpack']);
    expect(aptWays({ ...debian, isRoot: false })).toEqual(['unpack']);
    expect(aptWays({ ...debian, hasApt: false })).toEqual([]);
    expect(aptWays({ ...debian, platform: 'darwin' })).toEqual([]);
  });

  it.each([
    ['darwin', '', /brew install redis/],
    ['win32', '', /WSL/],
    ['linux', 'ID=ubuntu\nID_LIKE=debian\n', /apt-get install redis-server/],
    ['linux', 'ID=fedora\n', /dnf install/],
    ['linux', 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', /dnf install/],
    ['linux', 'ID=alpine\n', /apk add/],
    ['linux', 'ID=something\n', /package manager/],
  ] as const)('on %s %j: %p', (platform, osRelease, advice) => {
    expect(whatToInstall({ ...debian, platform, osRelease })).toMatch(advice);
  });

  it('that is nowhere is told with what was tried and what to install', async () => {
    const text = notFound(debian, ["'redis-server' cannot be started"]);
    expect(text).toMatch(/redis-server >= 6\.2 is needed.*cannot be started.*apt-get install.*REDIS_SERVER/s);
    const root = folder();
    await expect(
      provideRedis(root, {
        env: { PATH: root },
        system: { ...debian, hasApt: false, osRelease: 'ID=alpine\n' },
        print: () => {},
      }),
    ).rejects.toThrow(/apk add redis/);
    rmSync(root, { recursive: true });
  });

  it('that REDIS_SERVER names is used, or refused by its name', async () => {
    const root = folder();
    await expect(provideRedis(root, { env: { REDIS_SERVER: '/no/such/server' } })).rejects.toThrow(
      /REDIS_SERVER is set, but '\/no\/such\/server' cannot be started/,
    );
    const server = process.env['REDIS_SERVER'] ?? 'redis-server';
    expect(await provideRedis(root, { env: { ...process.env, REDIS_SERVER: server } })).toBe(server);
    expect(existsSync(join(root, '.cache'))).toBe(false);
    rmSync(root, { recursive: true });
  });

  it('has its packages by what apt-cache says they depend on', () => {
    expect(
      dependenciesIn(
        'redis-tools\n  Depends: libc6\n |Depends: libssl3t64\n  PreDepends: init-system-helpers\n  Depends: <virtual>\n  Suggests: ruby-redis\n',
      ),
    ).toEqual(['libc6', 'libssl3t64', 'init-system-helpers']);
  });
});
