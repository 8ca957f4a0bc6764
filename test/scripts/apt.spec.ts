import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianArchiveIn, fetchLists, librariesIn, prepareApt, unpackWithApt } from '../../scripts/apt.mjs';
import { outputOf } from '../../scripts/process.mjs';

describe('the libraries below a package', () => {
  it('are read from apt-cache, without other packages, virtual ones and those of other architectures', () => {
    const tree = [
      'redis-tools',
      '  PreDepends: init-system-helpers',
      '  Depends: libssl3t64',
      ' |Depends: libjemalloc2',
      '  Depends: <virtual-one>',
      '  Depends: zlib1g',
      'init-system-helpers',
      'libssl3t64',
      '  Depends: zlib1g',
      '<libvirtual>',
      '    libprovider',
      'libjemalloc2',
      '  Depends: libstdc++6',
      'zlib1g',
      'libstdc++6',
      'libstdc++6:i386',
      'libjemalloc2',
    ].join('\n');
    expect(librariesIn(tree)).toEqual(['libssl3t64', 'libjemalloc2', 'zlib1g', 'libstdc++6']);
  });
});

describe("Debian's archive among the sources of a system", () => {
  const uris = (...sources: string[]): string =>
    sources.map((source) => `'${source}/InRelease' some_file_InRelease 0 \n`).join('');
  const debian = 'NAME="Debian"\nID=debian\nVERSION_CODENAME=bookworm\n';
  it.each([
    ['is the one of its own release', uris('http://a/debian/dists/bookworm'), debian, 'http://a/debian/'],
    [
      'is neither that of the security updates nor that of another vendor',
      uris(
        'https://vendor/linux/debian/dists/bookworm',
        'http://a/debian-security/dists/bookworm-security',
        'http://a/deb/dists/bookworm',
        'http://a/deb/dists/bookworm-updates',
      ),
      debian,
      'http://a/deb/',
    ],
    ['goes by the name of a suite as well', uris('http://a/dists/stable'), debian, 'http://a/'],
    ['is found on sid', uris('http://a/dists/sid'), 'ID=debian\nVERSION_CODENAME=forky\n', 'http://a/'],
    ['is missing on Ubuntu', uris('http://a/ubuntu/dists/noble'), 'ID=ubuntu\nID_LIKE=debian\n', undefined],
    ['is missing if there are only others', uris('http://a/dists/nodistro'), debian, undefined],
    ['is missing without apt-get', '', debian, undefined],
  ])('%s', (_, text, osRelease, archive) => {
    expect(debianArchiveIn(text, osRelease)).toBe(archive);
  });
});

const folder = mkdtempSync(join(tmpdir(), 'apt-spec-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Without a network there is nothing to unpack; CI has one, and there that is a failure. */
async function archiveAnswers(): Promise<boolean> {
  const apt = prepareApt(join(folder, 'probe'));
  await fetchLists(apt).catch(() => {});
  return outputOf('apt-cache', [...apt, 'show', 'redis-tools']) !== undefined;
}

const why =
  outputOf('apt-get', ['--version']) === undefined
    ? 'there is no apt-get here'
    : process.env['CI'] || (await archiveAnswers())
      ? undefined
      : 'the package archive cannot be reached';

describe('a server without root, by apt-get and dpkg', () => {
  (why ? it.skip : it)(
    `is unpacked into a folder and starts from there${why ? ` (skipped: ${why})` : ''}`,
    async () => {
      const cache = join(folder, 'redis');
      await unpackWithApt(cache);
      expect(execFileSync(join(cache, 'redis-server'), ['--version'], { encoding: 'utf8' })).toMatch(
        /server v=\d+\.\d+/,
      );
      expect(readdirSync(cache).toSorted()).toEqual(['redis-server', 'root']);
    },
    120_000,
  );
});
