import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dependenciesIn, fetchLists, prepareApt, unpackWithApt } from '../../scripts/apt.mjs';
import { outputOf } from '../../scripts/process.mjs';

describe('the packages that another depends on', () => {
  it('are read from apt-cache, without virtual ones and mere suggestions', () => {
    const text = [
      'redis-tools',
      '  PreDepends: init-system-helpers',
      '  Depends: libssl3t64',
      ' |Depends: libjemalloc2',
      '  Depends: <virtual-one>',
      '    provider',
      '  Depends: libstdc++6',
      '  Breaks: redis-server',
      '  Suggests: ruby-redis',
    ].join('\n');
    expect(dependenciesIn(text)).toEqual(['init-system-helpers', 'libssl3t64', 'libjemalloc2', 'libstdc++6']);
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
