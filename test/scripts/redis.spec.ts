import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  aptWays,
  notFound,
  parseVersion,
  provideRedis,
  whatToInstall,
  whyUnusable,
  type System,
} from '../../scripts/redis.mjs';

const mac: System = { platform: 'darwin', isRoot: false, hasApt: false, osRelease: '' };
const linux: System = { ...mac, platform: 'linux' };

describe('the version of a server', () => {
  it.each([
    ['Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0', '7.0.15', undefined],
    ['Redis server v=6.2.0 sha=00000000:0', '6.2.0', undefined],
    ['Valkey server v=8.0.1 sha=00000000:0', '8.0.1', undefined],
    ['Redis server v=10.0.0 sha=00000000:0', '10.0.0', undefined],
    ['Redis server v=6.0.16 sha=00000000:0', '6.0.16', "'x' is 6.0.16, older than 6.2"],
    ['Redis server v=5.0.14 sha=00000000:0', '5.0.14', "'x' is 5.0.14, older than 6.2"],
    ['command not found', undefined, "'x' cannot be started"],
  ])('%s', (printed, version, unusable) => {
    expect(parseVersion(printed)?.text).toBe(version);
    expect(whyUnusable('x', parseVersion(printed))).toBe(unusable);
  });
});

describe('which ways apt-get offers', () => {
  it.each([
    ['root on Debian', { ...linux, hasApt: true, isRoot: true }, ['install', 'unpack']],
    ['a user on Debian', { ...linux, hasApt: true }, ['unpack']],
    ['Linux without apt-get', { ...linux, isRoot: true }, []],
    ['macOS, even with an apt-get of its own', { ...mac, hasApt: true }, []],
  ])('%s', (_, system, ways) => {
    expect(aptWays(system)).toEqual(ways);
  });
});

describe('what to install', () => {
  it.each([
    ['macOS', mac, 'brew install redis'],
    ['Windows', { ...mac, platform: 'win32' as const }, 'wsl --install'],
    ['Debian', { ...linux, osRelease: 'NAME="Debian"\nID=debian\n' }, 'apt-get install redis-server'],
    ['Mint', { ...linux, osRelease: 'ID=linuxmint\nID_LIKE="ubuntu debian"\n' }, 'apt-get install'],
    ['Fedora', { ...linux, osRelease: 'ID=fedora\nVERSION_ID=41\n' }, 'dnf install redis'],
    ['Rocky', { ...linux, osRelease: 'ID="rocky"\nID_LIKE="rhel centos fedora"\n' }, 'dnf install redis'],
    ['Alpine', { ...linux, osRelease: 'ID=alpine\n' }, 'apk add redis'],
    ['Arch', { ...linux, osRelease: 'ID=arch\n' }, 'pacman -S valkey'],
    [
      'openSUSE',
      { ...linux, osRelease: 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n' },
      'zypper install redis',
    ],
    ['NixOS', { ...linux, osRelease: 'ID=nixos\n' }, 'nix-shell -p redis'],
    ['an unknown Linux', { ...linux, osRelease: 'ID=nobodyknows\n' }, "your system's package manager"],
    ['a Linux that says nothing', linux, "your system's package manager"],
  ])('on %s', (_, system, advice) => {
    expect(whatToInstall(system)).toContain(advice);
  });

  it('stands in the error beside what was tried and REDIS_SERVER', () => {
    const text = notFound(linux, ["'redis-server' cannot be started", 'apt-get failed']);
    expect(text).toContain('A redis-server >= 6.2 is needed');
    expect(text).toContain("- 'redis-server' cannot be started\n  - apt-get failed\n");
    expect(text).toContain('Or set REDIS_SERVER');
  });
});

describe('the server that is taken', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'provide-redis-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** Something that prints the version of a server, and what it is called. */
  function server(version: string, ...path: string[]): string {
    const file = join(root, ...path);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, `#!/bin/sh\necho Redis server v=${version} sha=0\n`);
    chmodSync(file, 0o755);
    return file;
  }

  const provide = (env: NodeJS.ProcessEnv): Promise<string> =>
    provideRedis(root, { env, system: linux, print: () => {} });

  it('is the one of REDIS_SERVER before the one on the PATH', async () => {
    server('7.0.0', 'bin', 'redis-server');
    const other = server('8.0.0', 'other');
    expect(await provide({ PATH: join(root, 'bin'), REDIS_SERVER: other })).toBe(other);
  });

  it('is never another one than REDIS_SERVER asks for', async () => {
    server('7.0.0', 'bin', 'redis-server');
    const old = server('6.0.0', 'old');
    await expect(provide({ PATH: join(root, 'bin'), REDIS_SERVER: old })).rejects.toThrow(
      `REDIS_SERVER is set, but '${old}' is 6.0.0, older than 6.2. Correct it or unset it.`,
    );
    await expect(provide({ PATH: join(root, 'bin'), REDIS_SERVER: '/no/where' })).rejects.toThrow(
      "'/no/where' cannot be started",
    );
  });

  it('is the one on the PATH before one that was unpacked', async () => {
    server('7.0.0', '.cache', 'redis', 'redis-server');
    server('7.0.0', 'bin', 'redis-server');
    expect(await provide({ PATH: join(root, 'bin') })).toBe('redis-server');
  });

  it('is one unpacked before where the one on the PATH is too old', async () => {
    server('6.0.16', 'bin', 'redis-server');
    const unpacked = server('7.0.0', '.cache', 'redis', 'redis-server');
    expect(await provide({ PATH: `${join(root, 'bin')}:${process.env['PATH']}` })).toBe(unpacked);
  });

  it('is none where none is to be had: the error says what was found and what to do', async () => {
    server('6.0.16', 'bin', 'redis-server');
    await expect(provide({ PATH: join(root, 'bin') })).rejects.toThrow(
      /'redis-server' is 6\.0\.16[^]*package manager[^]*REDIS_SERVER/,
    );
  });
});
