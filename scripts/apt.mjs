// redis-server from the package archives of Debian and Ubuntu: installed, or without root unpacked into a folder.

import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { outputOf, run } from './process.mjs';

/**
 * Installs the package, as root. Its script would start a server on port 6379, now and at each boot: it may not.
 */
export async function installWithApt() {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const policy = '/usr/sbin/policy-rc.d';
  const hasPolicy = existsSync(policy);
  if (!hasPolicy) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    await run('apt-get', ['update', '-qq'], { env });
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'redis-server'], { env });
    if (existsSync('/run/systemd/system')) await run('systemctl', ['disable', 'redis-server'], { env });
  } finally {
    if (!hasPolicy) rmSync(policy, { force: true });
  }
}

/**
 * Downloads the packages and unpacks them into `folder`, with package lists of its own there: an ordinary user may not
 * renew the system's. Leaves an executable `folder/redis-server`.
 * @param {string} folder made anew
 */
export async function unpackWithApt(folder) {
  const work = `${folder}.${process.pid}`;
  try {
    const apt = prepareApt(work);
    await fetchLists(apt);
    const debs = join(work, 'debs');
    mkdirSync(debs);
    await run('apt-get', [...apt, 'download', ...wantedPackages(apt)], { cwd: debs });
    for (const deb of readdirSync(debs)) await run('dpkg', ['-x', join(debs, deb), join(work, 'root')]);
    writeStarter(work);
    for (const leftover of ['lists', 'archives', 'debs']) {
      rmSync(join(work, leftover), { recursive: true, force: true });
    }
    mkdirSync(dirname(folder), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * The options by which apt-get works in `work` alone.
 * @param {string} work
 * @returns {readonly string[]}
 */
export function prepareApt(work) {
  mkdirSync(join(work, 'lists', 'partial'), { recursive: true });
  mkdirSync(join(work, 'archives', 'partial'), { recursive: true });
  return [
    `Dir::State::Lists=${join(work, 'lists')}`,
    `Dir::Cache=${work}`,
    `Dir::Cache::archives=${join(work, 'archives')}`,
    'Debug::NoLocking=1',
    'APT::Sandbox::User=',
    'Acquire::Languages=none',
    'Acquire::Retries=2',
  ]
    .flatMap((option) => ['-o', option])
    .concat('-qq');
}

/** @param {readonly string[]} apt */
export async function fetchLists(apt) {
  await run('apt-get', [...apt, 'update']);
}

/**
 * The server (in Debian and Ubuntu a link to a program of redis-tools) and what it needs beyond what is installed: names of
 * libraries differ from release to release.
 * @param {readonly string[]} apt
 */
function wantedPackages(apt) {
  const depends = outputOf('apt-cache', [...apt, 'depends', 'redis-tools']) ?? '';
  return ['redis-server', 'redis-tools', ...dependenciesIn(depends).filter((name) => !isInstalled(name))];
}

/**
 * Names in the output of `apt-cache depends`, without virtual packages.
 * @param {string} text
 */
export function dependenciesIn(text) {
  return [...text.matchAll(/^\s*\|?(?:Pre)?Depends: ([a-z0-9][a-z0-9+.-]*)$/gm)].map(([, name = '']) => name);
}

/** @param {string} name */
function isInstalled(name) {
  return outputOf('dpkg-query', ['-W', '-f', '${Status}', name])?.endsWith(' installed') ?? false;
}

/**
 * A script that starts the unpacked server with the unpacked libraries, wherever the folder is moved.
 * @param {string} work
 */
function writeStarter(work) {
  const libraries = ['usr/lib', 'lib']
    .flatMap((parent) => {
      const path = join(work, 'root', parent);
      return existsSync(path) ? readdirSync(path).map((name) => `${parent}/${name}`) : [];
    })
    .filter((path) => path.includes('-linux-gnu'))
    .map((path) => `$here/root/${path}`);
  const starter = join(work, 'redis-server');
  // An empty place in the list would mean the present folder.
  const path = [...libraries, '${LD_LIBRARY_PATH:-/usr/lib}'].join(':');
  writeFileSync(
    starter,
    `#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
LD_LIBRARY_PATH="${path}" exec "$here/root/usr/bin/redis-server" "$@"
`,
  );
  chmodSync(starter, 0o755);
}
