import { findChromium, provideChromium } from '../../scripts/chromium.mjs';
import type { System } from '../../scripts/redis.mjs';

const debian: System = { platform: 'linux', isRoot: true, hasApt: true, osRelease: 'ID=debian\n' };
const env = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({ PATH: '/nowhere', ...more });

describe('the Chromium for the tests of pages', () => {
  it('is the one that CHROMIUM names', () => {
    expect(findChromium({ env: env({ CHROMIUM: process.execPath }) })).toBe(process.execPath);
  });

  it('is no other one if CHROMIUM is wrong', () => {
    expect(() => findChromium({ env: env({ CHROMIUM: '/nowhere/chromium' }) })).toThrow(
      "CHROMIUM is set, but '/nowhere/chromium' cannot be started",
    );
  });

  it('is installed by root on Debian if there is none', async () => {
    let isInstalled = false;
    const search = {
      env: env(),
      programs: () => (isInstalled ? ['/usr/bin/chromium'] : []),
      works: () => isInstalled,
      system: debian,
    };
    const install = (): Promise<void> => {
      isInstalled = true;
      return Promise.resolve();
    };
    const lines: string[] = [];
    const print = (line: string): number => lines.push(line);
    expect(await provideChromium({ ...search, install, print })).toBe('/usr/bin/chromium');
    expect(lines).toEqual(['No Chromium here: installing it with apt-get.']);
  });

  it.each<[string, System]>([
    ['a user who is not root', { ...debian, isRoot: false }],
    ['a system without apt-get', { ...debian, hasApt: false }],
  ])('is asked for by an error that says what to do: %s', async (_, system) => {
    const install = (): Promise<void> => Promise.reject(new Error('must not be called'));
    const given = { env: env(), works: () => false, system, install };
    await expect(provideChromium(given)).rejects.toThrow(/apt-get install chromium[^]*set CHROMIUM/);
  });
});
