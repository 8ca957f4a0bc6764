// Installs node_modules as package-lock.json says. Needs only Node and npm.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './process.mjs';

/** @typedef {{ version?: string, integrity?: string, link?: boolean, optional?: boolean }} LockedPackage */
/** @typedef {{ packages?: Record<string, LockedPackage> }} Lockfile */

/**
 * Runs `npm ci` if node_modules is absent or differs from package-lock.json.
 * @param {string} root the project's folder
 */
export async function ensureInstalled(root) {
  const reason = whyStale(
    readLockfile(join(root, 'package-lock.json')),
    readLockfile(join(root, 'node_modules', '.package-lock.json')),
  );
  if (!reason) return;
  console.log(`Installing the dependencies with npm ci (some minutes on a slow machine): ${reason}.`);
  const [command, ...args] = npm();
  // Some development tools ask for a newer Node, and work with an older one: no warnings.
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  await run(command, [...args, 'ci', '--include=dev', ...quiet], { cwd: root });
}

/**
 * The first difference between the installed and the wanted packages; undefined if there is none.
 * npm leaves a lockfile in node_modules that lists the installed packages: without the optional
 * packages for other systems.
 * @param {Lockfile | undefined} wanted
 * @param {Lockfile | undefined} installed
 * @returns {string | undefined}
 */
export function whyStale(wanted, installed) {
  if (!installed?.packages) return 'node_modules is not there or was not made by npm';
  for (const [path, { version, integrity, link, optional }] of Object.entries(wanted?.packages ?? {})) {
    if (path === '' || link) continue;
    const found = installed.packages[path];
    if (!found) {
      if (optional) continue;
      return `${path} is missing`;
    }
    if (found.version !== version || found.integrity !== integrity) {
      return `${path} is ${found.version}, package-lock.json has ${version}`;
    }
  }
  return undefined;
}

/**
 * @param {string} path
 * @returns {Lockfile | undefined}
 */
function readLockfile(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * The npm that runs this script, else the one on the PATH.
 * @returns {[string, ...string[]]}
 */
export function npm() {
  const running = process.env['npm_execpath'];
  if (running?.endsWith('.js')) return [process.execPath, running];
  return [process.platform === 'win32' ? 'npm.cmd' : 'npm'];
}
