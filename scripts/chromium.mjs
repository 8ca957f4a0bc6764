// Finds or provides a Chromium for the tests of the pages.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { outputOf, run } from './process.mjs';
import { aptWays, thisSystem } from './redis.mjs';

/** The names of the program, in the order of trying. */
const NAMES = ['chromium', 'chromium-headless-shell', 'chromium-browser', 'google-chrome'];

/**
 * What the search for a browser needs to know. Tests give their own.
 * @typedef {{
 *   env?: NodeJS.ProcessEnv,
 *   programs?: (env: NodeJS.ProcessEnv) => readonly string[],
 *   works?: (command: string) => boolean,
 * }} Search
 */

/**
 * The command that starts a Chromium: CHROMIUM, else one on the PATH; undefined if there is none.
 * Throws if CHROMIUM names no browser.
 * @param {Search} [search]
 * @returns {string | undefined}
 */
export function findChromium({ env = process.env, programs = onPath, works = isBrowser } = {}) {
  const named = env['CHROMIUM'];
  if (!named) return programs(env).find(works);
  if (works(named)) return named;
  throw new Error(`CHROMIUM is set, but '${named}' cannot be started. Correct it or unset it.`);
}

/**
 * Like `findChromium`, but installs the package of Debian if there is no browser and this user may.
 * @param {Search & { system?: import('./redis.mjs').System, install?: () => Promise<void>, print?: (line: string) => void }} [options]
 */
export async function provideChromium({
  system = thisSystem(),
  install = installChromium,
  print = console.log,
  ...search
} = {}) {
  const found = findChromium(search);
  if (found) return found;
  if (aptWays(system).includes('install')) {
    print('No Chromium here: installing it with apt-get.');
    await install();
    const installed = findChromium(search);
    if (installed) return installed;
  }
  throw new Error(
    [
      `A Chromium is needed to test the pages. Tried: ${NAMES.join(', ')}.`,
      'Debian: sudo apt-get install chromium. Fedora: sudo dnf install chromium-headless. macOS: brew install --cask chromium.',
      'Or set CHROMIUM to the path of a Chromium or Chrome.',
    ].join('\n'),
  );
}

async function installChromium() {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-qq'], { env });
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], { env });
}

/**
 * The browsers on the PATH, in the order of trying, with the whole path, which playwright needs.
 * @param {NodeJS.ProcessEnv} env
 */
function onPath(env) {
  const folders = (env['PATH'] ?? '').split(delimiter);
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name)).filter(existsSync));
}

/** @param {string} command */
function isBrowser(command) {
  return outputOf(command, ['--version']) !== undefined;
}
