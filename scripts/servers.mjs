// npm run servers -- <command> [--server NAME]... [--node RELEASE]... [arguments]
// Runs a command of scripts/run.mjs on other servers and on other releases of Node, one after the
// other, and prints a table.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unpackWithApt } from './apt.mjs';
import { provideNode } from './node.mjs';
import { exitCodeOf } from './process.mjs';
import { provideRedis, versionAt } from './redis.mjs';

const REDIS = /** @type {const} */ ({ package: 'redis-tools', program: 'redis-check-rdb' });
const VALKEY = /** @type {const} */ ({ package: 'valkey-tools', program: 'valkey-check-rdb' });

/**
 * The servers beside the one that `npm test` finds. The packages of sid change daily, so a server
 * of sid may be missing.
 * @type {Readonly<Record<string, import('./apt.mjs').Packaged & { mayBeMissing?: true }>>}
 */
export const SERVERS = {
  'redis-8.0': { ...REDIS, suites: ['trixie'] },
  'valkey-8.0': { ...VALKEY, suites: ['bookworm-backports', 'bookworm'] },
  'valkey-8.1': { ...VALKEY, suites: ['trixie'] },
  'valkey-9.1': { ...VALKEY, suites: ['sid'], mayBeMissing: true },
};

/** The server that `npm test` finds. */
const USUAL = 'usual';

/**
 * @typedef {object} Run one run of the command, or the reason why there was none
 * @property {string} server
 * @property {string} version of the server, or '' if unknown
 * @property {string} node
 * @property {number} [passed] tests, if the command counts them
 * @property {number} failed tests, or 1 if the command failed
 * @property {string} [notRun] the reason, if the command was not run
 * @property {boolean} [mayBeMissing]
 */

/**
 * @typedef {object} Plan
 * @property {string} command
 * @property {readonly string[]} servers
 * @property {readonly string[]} nodes releases; by default the one that runs this script
 * @property {string} [results] a file that gets the runs as JSON
 * @property {readonly string[]} args
 */

/**
 * @param {readonly string[]} args
 * @param {readonly string[]} commands the names of the commands
 * @returns {Plan}
 */
export function planOf([command = '', ...rest], commands) {
  if (!commands.includes(command)) {
    throw new Error(
      `Usage: npm run servers -- ${commands.join('|')} [--server NAME]... [--node RELEASE]... [arguments]`,
    );
  }
  /** @type {string[]} */
  const servers = [];
  /** @type {string[]} */
  const nodes = [];
  /** @type {string[]} */
  const args = [];
  let results;
  for (let index = 0; index < rest.length; index += 1) {
    const [, option, attached] = /^--(server|node|results)(?:=(.*))?$/.exec(rest[index] ?? '') ?? [];
    if (!option) {
      args.push(rest[index] ?? '');
      continue;
    }
    const value = attached ?? rest[(index += 1)] ?? '';
    if (option === 'results') results = value;
    else if (option === 'node') nodes.push(checkedRelease(value));
    else servers.push(checkedServer(value));
  }
  if (servers.length === 0) servers.push(...(nodes.length === 0 ? Object.keys(SERVERS) : [USUAL]));
  if (nodes.length === 0) nodes.push(String(Number.parseInt(process.versions.node, 10)));
  return { command, servers, nodes, args, ...(results ? { results } : {}) };
}

/** @param {string} value */
function checkedRelease(value) {
  if (/^\d+$/.test(value)) return value;
  throw new Error(`--node needs a release of Node such as 24, not '${value}'`);
}

/** @param {string} value */
function checkedServer(value) {
  if (value === USUAL || Object.hasOwn(SERVERS, value)) return value;
  throw new Error(`--server needs one of ${[USUAL, ...Object.keys(SERVERS)].join(', ')}, not '${value}'`);
}

/**
 * 0 only if at least one run took place, none failed, and each missing server may be missing.
 * @param {readonly Run[]} runs
 */
export function exitCodeFor(runs) {
  const hasRun = runs.some(({ notRun }) => notRun === undefined);
  const isGood = runs.every(({ failed, notRun, mayBeMissing }) => (notRun ? mayBeMissing : failed === 0));
  return hasRun && isGood ? 0 : 1;
}

/**
 * @param {readonly Run[]} runs
 * @returns {string}
 */
export function tableOf(runs) {
  const rows = runs.map(({ server, version, node, passed, failed, notRun }) =>
    notRun
      ? [server, version || '-', node, 'not run', notRun]
      : [server, version, node, String(passed ?? '-'), String(failed)],
  );
  const lines = [['server', 'version', 'Node', 'passed', 'failed'], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * @param {string} root the project's folder
 * @param {Plan} plan
 * @param {typeof unpackWithApt} [unpack]
 * @returns {Promise<number>} the exit code
 */
export async function runOnServers(root, { command, servers, nodes, args, results }, unpack = unpackWithApt) {
  /** @type {Run[]} */
  const runs = [];
  let isEnded = false;
  // The current run gets the signal as well and ends. No further run may begin.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => (isEnded = true));
  for (const server of servers) {
    for (const release of nodes) {
      if (isEnded) continue;
      const run = await runOn(root, server, release, command, args, unpack);
      runs.push(run);
      if (run.notRun) console.error(`${server} on Node ${release} was not run: ${run.notRun}`);
    }
  }
  console.log(`\n${tableOf(runs)}`);
  if (results) writeFileSync(results, JSON.stringify(runs));
  return isEnded ? 1 : exitCodeFor(runs);
}

/**
 * @param {string} root
 * @param {string} server
 * @param {string} release
 * @param {string} command
 * @param {readonly string[]} args
 * @param {typeof unpackWithApt} unpack
 * @returns {Promise<Run>}
 */
async function runOn(root, server, release, command, args, unpack) {
  const { mayBeMissing = false } = SERVERS[server] ?? {};
  let starter;
  let node;
  try {
    starter = await provideServer(root, server, unpack);
    node = await provideNode(root, release);
  } catch (error) {
    const notRun = error instanceof Error ? error.message : String(error);
    return { server, version: '', node: release, failed: 0, notRun, mayBeMissing };
  }
  const version = versionAt(starter, process.env)?.text ?? '';
  console.log(`\n--- ${command} on ${server} (${version}), Node ${node.version}`);
  const folder = mkdtempSync(join(tmpdir(), 'servers-'));
  try {
    const counts = join(folder, 'counts.json');
    const counting = command === 'test' ? ['--json', `--outputFile=${counts}`] : [];
    const env = { ...process.env, REDIS_SERVER: starter };
    const script = join(root, 'scripts', 'run.mjs');
    const code = await exitCodeOf(node.command, [script, command, ...args, ...counting], { cwd: root, env });
    return { server, version, node: node.version, ...countsIn(counts, code) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * @param {string} path the results of jest, if jest ran
 * @param {number} code
 */
function countsIn(path, code) {
  try {
    const { numPassedTests, numFailedTests, numRuntimeErrorTestSuites } = JSON.parse(
      readFileSync(path, 'utf8'),
    );
    const failed = numFailedTests + numRuntimeErrorTestSuites;
    return { passed: numPassedTests, failed: failed || (code === 0 ? 0 : 1) };
  } catch {
    return { failed: code === 0 ? 0 : 1 };
  }
}

/**
 * @param {string} root
 * @param {string} name
 * @param {typeof unpackWithApt} unpack
 * @returns {Promise<string>} the command that starts it
 */
async function provideServer(root, name, unpack) {
  const packaged = SERVERS[name];
  if (!packaged) return provideRedis(root);
  const folder = join(root, '.cache', 'servers', name);
  const starter = join(folder, 'redis-server');
  if (versionAt(starter, process.env)) return starter;
  console.log(`Unpacking ${name} into .cache/servers/${name}. Nothing is installed.`);
  await unpack(folder, packaged);
  if (!versionAt(starter, process.env)) throw new Error(`'${starter}' cannot be started`);
  return starter;
}
