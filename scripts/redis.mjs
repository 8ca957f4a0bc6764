// Finds or provides a redis-server for the tests and the demonstration. One program is enough: with
// --sentinel the same program is a Sentinel.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { installWithApt, unpackWithApt } from './apt.mjs';
import { outputOf } from './process.mjs';

/** The oldest server that this library supports. */
export const MINIMUM = /** @type {const} */ ({ major: 6, minor: 2 });

/**
 * The properties of this system that decide how a server can be provided.
 * @typedef {object} System
 * @property {NodeJS.Platform} platform
 * @property {boolean} isRoot
 * @property {boolean} hasApt apt-get and dpkg are there
 * @property {string} osRelease the text of /etc/os-release, or '' if there is none
 */

/** @typedef {'install' | 'unpack'} AptWay */

/**
 * The command that starts a redis-server >= 6.2: REDIS_SERVER, else the one on the PATH, else one
 * that apt-get provides. If there is none, throws an error that says what to install on this
 * system.
 * @param {string} root the project's folder
 * @param {{ env?: NodeJS.ProcessEnv, system?: System, print?: (line: string) => void }} [options]
 * @returns {Promise<string>}
 */
export async function provideRedis(
  root,
  { env = process.env, system = thisSystem(), print = console.log } = {},
) {
  const named = env['REDIS_SERVER'];
  if (named) {
    const unusable = whyUnusable(named, versionAt(named, env));
    if (unusable) throw new Error(`REDIS_SERVER is set, but ${unusable}. Correct it or unset it.`);
    return named;
  }
  /** @type {string[]} */
  const inVain = [];
  const unusable = whyUnusable('redis-server', versionAt('redis-server', env));
  if (!unusable) return 'redis-server';
  inVain.push(unusable);

  const cache = join(root, '.cache', 'redis');
  const unpacked = join(cache, 'redis-server');
  if (!whyUnusable(unpacked, versionAt(unpacked, env))) return unpacked;

  for (const way of aptWays(system)) {
    const server = way === 'install' ? 'redis-server' : unpacked;
    try {
      if (way === 'install') {
        print(
          'No usable redis-server here: installing it with apt-get. It will not be started as a service.',
        );
        await installWithApt();
      } else {
        print('No usable redis-server here: unpacking one into .cache/redis. Nothing is installed.');
        await unpackWithApt(cache);
      }
      const stillUnusable = whyUnusable(server, versionAt(server, env));
      if (!stillUnusable) return server;
      inVain.push(stillUnusable);
    } catch (error) {
      inVain.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(notFound(system, inVain));
}

/**
 * The ways to use apt-get here, in the order of trying.
 * @param {System} system
 * @returns {readonly AptWay[]}
 */
export function aptWays({ platform, hasApt, isRoot }) {
  if (platform !== 'linux' || !hasApt) return [];
  return isRoot ? ['install', 'unpack'] : ['unpack'];
}

/**
 * Parses the output of `redis-server --version` or `valkey-server --version`.
 * @param {string} text
 * @returns {{ major: number, minor: number, text: string } | undefined}
 */
export function parseVersion(text) {
  const [, version, major, minor] = /\bv=((\d+)\.(\d+)\.\d+)/.exec(text) ?? [];
  return version ? { major: Number(major), minor: Number(minor), text: version } : undefined;
}

/**
 * @param {string} command
 * @param {ReturnType<typeof parseVersion>} version
 * @returns {string | undefined} the middle of a sentence; undefined if the server can be used
 */
export function whyUnusable(command, version) {
  if (!version) return `'${command}' cannot be started`;
  const { major, minor } = MINIMUM;
  if (version.major > major || (version.major === major && version.minor >= minor)) return undefined;
  return `'${command}' is ${version.text}, older than ${major}.${minor}`;
}

/**
 * @param {System} system
 * @param {readonly string[]} inVain
 */
export function notFound(system, inVain) {
  return [
    `A redis-server >= ${MINIMUM.major}.${MINIMUM.minor} is needed to start servers of our own:`,
    ...inVain.map((reason) => `  - ${reason}`),
    whatToInstall(system),
    'Or set REDIS_SERVER to the path of a redis-server (valkey-server will do as well).',
  ].join('\n');
}

/** The advice for each ID or ID_LIKE of /etc/os-release. */
const INSTALL = /** @type {const} */ ({
  debian: 'Install it: sudo apt-get install redis-server',
  fedora:
    'Install it: sudo dnf install redis (if that package is gone: sudo dnf install valkey-compat-redis)',
  rhel: 'Install it: sudo dnf install redis (if that package is gone: sudo dnf install valkey-compat-redis)',
  alpine: 'Install it: apk add redis',
  arch: 'Install it: sudo pacman -S valkey, then set REDIS_SERVER=valkey-server',
  suse: 'Install it: sudo zypper install redis',
  nixos: 'Run this again in: nix-shell -p redis nodejs',
});

/**
 * @param {System} system
 * @returns {string}
 */
export function whatToInstall({ platform, osRelease }) {
  if (platform === 'darwin') return 'Install it: brew install redis';
  if (platform === 'win32') {
    return 'Redis does not run on Windows itself: install WSL (wsl --install) and run this inside WSL.';
  }
  const ids = [...osRelease.matchAll(/^ID(?:_LIKE)?="?([^"\n]+)"?$/gm)].flatMap(([, id = '']) =>
    id.split(' '),
  );
  const known = Object.entries(INSTALL).find(([id]) => ids.some((own) => own.split('-').includes(id)));
  return (
    known?.[1] ??
    "Install Redis with your system's package manager, or build it from the sources at redis.io."
  );
}

/**
 * The version that a server reports; undefined if the server cannot be started.
 * @param {string} command
 * @param {NodeJS.ProcessEnv} env
 */
export function versionAt(command, env) {
  return parseVersion(outputOf(command, ['--version'], { env }) ?? '');
}

/** @returns {System} */
export function thisSystem() {
  return {
    platform: process.platform,
    isRoot: process.getuid?.() === 0,
    hasApt: ['apt-get', 'dpkg'].every((command) => outputOf(command, ['--version']) !== undefined),
    osRelease: existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '',
  };
}
