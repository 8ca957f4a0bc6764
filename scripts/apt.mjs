// redis-server from the package archives of Debian and Ubuntu. Root installs the package, other
// users unpack the package into a folder.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { outputOf, run } from './process.mjs';

/**
 * Installs the package, as root. The package's script would start a server on port 6379, now and at
 * each boot. The policy file and `systemctl disable` prevent that.
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
 * A server's program in the archives of Debian and Ubuntu. One program is server, Sentinel and
 * check-rdb; the name that starts the program decides.
 * @typedef {object} Packaged
 * @property {string} package
 * @property {string} program in /usr/bin
 * @property {readonly string[]} [suites] suites of Debian, instead of the sources of this system
 */

/** @type {Packaged} */
const OWN_REDIS = { package: 'redis-tools', program: 'redis-check-rdb' };

/**
 * Downloads a server with all its libraries and unpacks them into `folder`. The package lists are
 * downloaded there, too, because an ordinary user may not update those of the system. Leaves an
 * executable `folder/redis-server`.
 * @param {string} folder is replaced
 * @param {Packaged} [packaged] by default the Redis of this system
 */
export async function unpackWithApt(folder, packaged = OWN_REDIS) {
  const work = `${folder}.${process.pid}`;
  try {
    const apt = prepareApt(work, packaged.suites);
    await fetchLists(apt);
    const debs = join(work, 'debs');
    mkdirSync(debs);
    await run('apt-get', [...apt, 'download', ...wantedPackages(apt, packaged.package)], { cwd: debs });
    for (const deb of readdirSync(debs)) await run('dpkg', ['-x', join(debs, deb), join(work, 'root')]);
    writeStarter(work, packaged.program);
    for (const name of readdirSync(work)) {
      if (!KEPT.has(name)) rmSync(join(work, name), { recursive: true, force: true });
    }
    mkdirSync(dirname(folder), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const KEPT = new Set(['root', 'redis-server']);

/**
 * The options with which apt-get works only in `work`.
 * @param {string} work
 * @param {readonly string[]} [suites] of Debian, instead of the system's sources
 * @returns {readonly string[]}
 */
export function prepareApt(work, suites) {
  mkdirSync(join(work, 'lists', 'partial'), { recursive: true });
  mkdirSync(join(work, 'archives', 'partial'), { recursive: true });
  const options = [
    `Dir::State::Lists=${join(work, 'lists')}`,
    // If apt-get saw the installed packages, it would look for those instead of the suite's.
    'Dir::State::Status=/dev/null',
    `Dir::Cache=${work}`,
    `Dir::Cache::archives=${join(work, 'archives')}`,
    'Debug::NoLocking=1',
    'APT::Sandbox::User=',
    'Acquire::Languages=none',
    'Acquire::Retries=2',
  ];
  if (suites) {
    const sources = join(work, 'sources.list');
    writeFileSync(sources, sourcesOf(suites));
    options.push(`Dir::Etc::SourceList=${sources}`, 'Dir::Etc::SourceParts=/dev/null');
  }
  return options.flatMap((option) => ['-o', option]).concat('-qq');
}

/** @param {readonly string[]} apt */
export async function fetchLists(apt) {
  await run('apt-get', [...apt, 'update']);
}

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * The lines of a sources.list for suites of Debian, from the archive that this system uses.
 * @param {readonly string[]} suites
 */
function sourcesOf(suites) {
  const archive = debianArchiveIn(
    outputOf('apt-get', ['--print-uris', 'update']) ?? '',
    existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '',
  );
  if (!archive) throw new Error(`this system has no package source of Debian to take ${suites[0]} from`);
  const options = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : '';
  return suites.map((suite) => `deb ${options}${archive} ${suite} main\n`).join('');
}

/**
 * The URL of Debian's archive among the sources of this system.
 * @param {string} uris the output of `apt-get --print-uris update`
 * @param {string} osRelease the text of /etc/os-release
 * @returns {string | undefined}
 */
export function debianArchiveIn(uris, osRelease) {
  if (!/^ID="?debian"?$/m.test(osRelease)) return undefined;
  const [, codename = 'stable'] = /^VERSION_CODENAME="?([\w-]+)"?$/m.exec(osRelease) ?? [];
  const releases = new Set([codename, 'oldstable', 'stable', 'testing', 'unstable', 'sid']);
  const sources = [...uris.matchAll(/^'([^']+\/)dists\/([^'/]+)\/InRelease'/gm)].map(
    ([, archive = '', suite = '']) => ({ archive, suite }),
  );
  const candidates = sources.filter(({ suite }) => releases.has(suite));
  // Archives of other projects use Debian's suite names, too, but have no updates between releases.
  const hasUpdates = candidates.find(({ archive }) =>
    sources.some((other) => other.archive === archive && other.suite.endsWith('-updates')),
  );
  return (hasUpdates ?? candidates[0])?.archive;
}

/**
 * The package and every library that it needs. Libraries of this system are not used, because they
 * may be older.
 * @param {readonly string[]} apt
 * @param {string} package_
 */
function wantedPackages(apt, package_) {
  const kinds = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'];
  const options = ['--recurse', ...kinds.map((kind) => `--no-${kind}`)];
  const tree = outputOf('apt-cache', [...apt, 'depends', ...options, package_]);
  if (tree === undefined) throw new Error(`the package archive cannot be reached or has no ${package_}`);
  return [package_, ...librariesIn(tree)];
}

/**
 * The names of libraries in the output of `apt-cache depends --recurse`, without virtual packages.
 * @param {string} tree
 */
export function librariesIn(tree) {
  return [...new Set([...tree.matchAll(/^z?lib[a-z0-9+.-]*$/gm)].map(([name]) => name))];
}

/**
 * Writes a script that starts the unpacked program as a server, with the unpacked loader and
 * libraries. The script still works after the folder is moved.
 * @param {string} work
 * @param {string} program
 */
function writeStarter(work, program) {
  const libraries = ['usr/lib', 'lib']
    .flatMap((parent) => {
      const path = join(work, 'root', parent);
      return existsSync(path) ? readdirSync(path).map((name) => `root/${parent}/${name}`) : [];
    })
    .filter((path) => path.endsWith('-linux-gnu') || path.includes('-linux-gnueabi'));
  const loader = libraries
    .flatMap((path) => readdirSync(join(work, path)).map((name) => `${path}/${name}`))
    .find((path) => /\/ld-linux[^/]*\.so\.\d+$/.test(path));
  if (!loader) throw new Error(`no loader of programs came with ${program}`);
  // The last part of this name tells the program to be a server.
  const server = 'root/usr/bin/redis-server';
  symlinkSync(program, join(work, server));
  const starter = join(work, 'redis-server');
  writeFileSync(
    starter,
    `#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/${loader}" --library-path "${libraries.map((path) => `$here/${path}`).join(':')}" "$here/${server}" "$@"
`,
  );
  chmodSync(starter, 0o755);
}
