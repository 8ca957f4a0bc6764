// node scripts/matrix.mjs installs the packed package in fresh applications, as users do:
// {Nest 11 CommonJS, Nest 12 ESM} x {ioredis 5.9, 6.0}, with and without the optional peers.
// Each application is type-checked without skipLibCheck, started against a Redis master with a
// replica, and locks over HTTP and in a provider. Applications with the optional peers also run
// tests of their own with the test kit (jest, vitest).

import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const templates = join(root, 'matrix');
const redisServer = process.env['REDIS_SERVER'] ?? 'redis-server';
const tsc = join(root, 'node_modules/typescript/bin/tsc');

/** @typedef {{ template: 'nest11-cjs' | 'nest12-esm', ioredis: string, hasExtras: boolean }} Consumer */
/** @type {readonly Consumer[]} */
const consumers = [
  { template: 'nest11-cjs', ioredis: '5.9', hasExtras: false },
  { template: 'nest11-cjs', ioredis: '6.0', hasExtras: true },
  { template: 'nest12-esm', ioredis: '5.9', hasExtras: true },
  { template: 'nest12-esm', ioredis: '6.0', hasExtras: false },
];

const folder = mkdtempSync(join(tmpdir(), 'replica-lock-matrix-'));
/** @type {import('node:child_process').ChildProcess[]} */
const servers = [];
process.on('exit', () => {
  for (const server of servers) server.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => process.exit(1));

try {
  const tarball = await pack();
  const redis = await startRedis();
  // Two at a time, because an installation mostly waits for the disk and the network.
  const left = [...consumers];
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await check(next, tarball, redis);
  };
  await Promise.all([work(), work()]);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  // Ends the other application's check, too.
  process.exit(1);
}
for (const server of servers) server.kill('SIGKILL');

/** @returns {Promise<string>} the path of the packed package */
async function pack() {
  await step(['node', join(root, 'node_modules/@nestjs/cli/bin/nest.js'), 'build'], root);
  await step(['npm', 'pack', '--silent', '--pack-destination', folder], root);
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return join(folder, `${name}-${version}.tgz`);
}

/**
 * @param {Consumer} consumer
 * @param {string} tarball
 * @param {string} redis
 */
async function check({ template, ioredis, hasExtras }, tarball, redis) {
  const startedAt = performance.now();
  const at = join(folder, `${template}-ioredis${ioredis}`);
  cpSync(join(templates, template), at, { recursive: true });
  for (const file of ['main.ts', 'reports.ts', ...(hasExtras ? ['optional.ts'] : [])])
    cpSync(join(templates, 'shared', file), join(at, 'src', file));
  if (hasExtras) cpSync(join(templates, 'shared/reports.test.ts'), join(at, 'test/reports.test.ts'));
  const path = join(at, 'package.json');
  const { extraDependencies, ...manifest } = JSON.parse(readFileSync(path, 'utf8'));
  Object.assign(manifest.dependencies, {
    ioredis: `~${ioredis}.0`,
    'nestjs-replica-lock': `file:${tarball}`,
  });
  if (hasExtras) Object.assign(manifest.devDependencies, extraDependencies);
  writeFileSync(path, JSON.stringify(manifest));

  await step(
    ['npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'],
    at,
  );
  await step(['node', tsc, '-p', 'tsconfig.json'], at);
  await step(['node', 'dist/main.js'], at, { REDIS_URL: redis });
  if (hasExtras && template === 'nest11-cjs') await step(['node', 'node_modules/jest/bin/jest.js'], at);
  if (hasExtras && template === 'nest12-esm') {
    await step(['node', 'node_modules/vitest/vitest.mjs', 'run'], at);
    await step(['node', 'bundle.mjs'], at);
    await step(['node', 'dist-swc/main.js'], at, { REDIS_URL: redis });
    await step(['node', 'bundle/main.mjs'], at, { REDIS_URL: redis });
  }
  const versions = ['@nestjs/core', 'ioredis']
    .map((name) => JSON.parse(readFileSync(join(at, 'node_modules', name, 'package.json'), 'utf8')))
    .map(({ name, version }) => `${name} ${version}`);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  console.log(`${template}: ${versions.join(', ')}${hasExtras ? ', test kit' : ''}: works (${seconds} s)`);
}

/**
 * Runs a program to its end. Rejects with all output of the program if it fails.
 * @param {[string, ...string[]]} command
 * @param {string} cwd
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<void>}
 */
function step([program, ...args], cwd, env = {}) {
  const [command, given] =
    program === 'node'
      ? [process.execPath, args]
      : [process.execPath, [process.env['npm_execpath'] ?? '', ...args]];
  return new Promise((resolve, reject) => {
    // The flags of the project's own test run must not reach the application.
    const child = spawn(command, given, { cwd, env: { ...process.env, NODE_OPTIONS: '', ...env } });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += data));
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`In ${cwd}: '${[program, ...args].join(' ')}' ended with ${code}\n${said}`));
    });
  });
}

/** @returns {Promise<string>} the URL of a master that has a replica */
async function startRedis() {
  const [master, replica] = [await freePort(), await freePort()];
  startServer(master);
  startServer(replica, '--replicaof', `127.0.0.1 ${master}`);
  const deadline = Date.now() + 20_000;
  while (!(await answer(master, 'INFO replication')).includes('state=online')) {
    if (Date.now() > deadline) throw new Error(`No replica at port ${replica} after 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return `redis://127.0.0.1:${master}`;
}

/**
 * @param {number} port
 * @param {string[]} more
 */
function startServer(port, ...more) {
  const settings = ['--port', String(port), '--save', '', '--dir', folder, '--repl-diskless-sync-delay', '0'];
  servers.push(spawn(redisServer, [...settings, ...more], { stdio: 'ignore' }));
}

/**
 * The server's answer to one inline command, or '' if the server does not listen yet.
 * @param {number} port
 * @param {string} command
 * @returns {Promise<string>}
 */
function answer(port, command) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\nQUIT\r\n`));
    let said = '';
    socket.on('data', (data) => (said += data));
    socket.once('error', () => {}).once('close', () => resolve(said));
  });
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
