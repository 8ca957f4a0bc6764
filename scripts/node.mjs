// Other releases of Node, from the npm registry, which has their programs as packages.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { npm } from './install.mjs';
import { outputOf, run } from './process.mjs';

/**
 * A program of that release: the running Node if it is of that release, else one in .cache/node.
 * @param {string} root the project's folder
 * @param {string} major
 * @returns {Promise<{ command: string, version: string }>}
 */
export async function provideNode(root, major) {
  const own = process.versions.node;
  if (own.startsWith(`${major}.`)) return { command: process.execPath, version: own };
  const folder = join(root, '.cache', 'node', major);
  const name = `node-${process.platform}-${process.arch}`;
  const command = join(folder, 'node_modules', name, 'bin', 'node');
  const found = versionAt(command, major);
  if (found) return { command, version: found };
  console.log(`Installing Node ${major} into .cache/node/${major}.`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const [program, ...args] = npm();
  const quiet = ['--no-audit', '--no-fund', '--no-package-lock', '--ignore-scripts', '--loglevel=error'];
  await run(program, [...args, 'install', ...quiet, `${name}@${major}`], { cwd: folder });
  const version = versionAt(command, major);
  if (!version) throw new Error(`the package ${name} has no program of Node ${major} that starts here`);
  return { command, version };
}

/**
 * @param {string} command
 * @param {string} major
 * @returns {string | undefined}
 */
function versionAt(command, major) {
  const version = outputOf(command, ['--version'])?.trim().replace(/^v/, '');
  return version?.startsWith(`${major}.`) ? version : undefined;
}
