// node scripts/matrix.mjs installs the packed package in fresh applications, as users do:
// {Nest 11 CommonJS, Nest 12 ESM} x {ioredis 5.9, 6.0}, with and without the optional peers.
// Each application is type-checked without skipLibCheck, started against a Redis master with a
// replica, and locks over HTTP and in a provider. Applications with the optional peers also run
// tests of their own with the test kit (jest, vitest).
// Two further applications are projects that the Nest CLI generates: Nest 11 (CommonJS, ts-jest,
// ESLint) and Nest 12 (ESM, vitest, oxlint). The package and a locked controller are added, as
// users do, and the scripts of the project run: build, lint, test and test:e2e. The linter of the
// project also reads the snippets of the documentation that a newcomer copies.

import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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

/**
 * A project that the Nest CLI generates. The CLI of Nest 12 is the one of this repository.
 * @typedef {object} Generated
 * @property {string} name
 * @property {[string, ...string[]]} cli
 * @property {readonly string[]} lint the program of the project's `lint`, without `--fix`
 * @property {readonly string[]} lintSnippets the same for src/snippets, without rules of layout
 */
/** @type {readonly Generated[]} */
const generated = [
  {
    name: 'nest11-generated',
    cli: ['npm', 'exec', '--yes', '--prefer-offline', '--package=@nestjs/cli@11', '--', 'nest'],
    lint: ['eslint/bin/eslint.js', '{src,test}/**/*.ts'],
    lintSnippets: [
      'eslint/bin/eslint.js',
      '--max-warnings=0',
      '--rule=prettier/prettier: off',
      'src/snippets/*.ts',
    ],
  },
  {
    name: 'nest12-generated',
    cli: ['node', join(root, 'node_modules/@nestjs/cli/bin/nest.js')],
    lint: ['oxlint/bin/oxlint', '--type-aware', '--deny-warnings', 'src', 'test'],
    lintSnippets: ['oxlint/bin/oxlint', '--type-aware', '--deny-warnings', 'src/snippets'],
  },
];

/** The pages whose snippets a newcomer copies into a generated project. */
const PAGES = [
  'README.md',
  'docs/getting-started.md',
  'docs/decorating.md',
  'docs/service.md',
  'docs/testing.md',
];

const INSTALL = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];

const folder = mkdtempSync(join(tmpdir(), 'replica-lock-matrix-'));
/** @type {import('node:child_process').ChildProcess[]} */
const servers = [];
process.on('exit', () => {
  for (const server of servers) server.kill('SIGKILL');
  // After a failure an installation may still write.
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => process.exit(1));

try {
  const tarball = await pack();
  const redis = await startRedis();
  // Two at a time, because an installation mostly waits for the disk and the network.
  const left = [
    ...generated.map((each) => () => checkGenerated(each, tarball, redis)),
    ...consumers.map((each) => () => check(each, tarball, redis)),
  ];
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await next();
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
  const { name, version } = readManifest(root);
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
  const { extraDependencies, ...manifest } = readManifest(at);
  Object.assign(manifest.dependencies, {
    ioredis: `~${ioredis}.0`,
    'nestjs-replica-lock': `file:${tarball}`,
  });
  if (hasExtras) Object.assign(manifest.devDependencies, extraDependencies);
  writeFileSync(path, JSON.stringify(manifest));

  await step(['npm', 'install', ...INSTALL], at);
  await step(['node', tsc, '-p', 'tsconfig.json'], at);
  await step(['node', 'dist/main.js'], at, { REDIS_URL: redis });
  if (hasExtras && template === 'nest11-cjs') await step(['node', 'node_modules/jest/bin/jest.js'], at);
  if (hasExtras && template === 'nest12-esm') {
    await step(['node', 'node_modules/vitest/vitest.mjs', 'run'], at);
    await step(['node', 'bundle.mjs'], at);
    await step(['node', 'dist-swc/main.js'], at, { REDIS_URL: redis });
    await step(['node', 'bundle/main.mjs'], at, { REDIS_URL: redis });
  }
  const installed = versionsIn(at, ['@nestjs/core', 'ioredis']);
  console.log(
    `${template}: ${installed}${hasExtras ? ', test kit' : ''}: works (${secondsSince(startedAt)} s)`,
  );
}

/**
 * @param {Generated} project
 * @param {string} tarball
 * @param {string} redis
 */
async function checkGenerated({ name, cli, lint, lintSnippets }, tarball, redis) {
  const startedAt = performance.now();
  const at = join(folder, name);
  await step([...cli, 'new', name, '--package-manager=npm', '--skip-git', '--skip-install'], folder);
  const isEsm = readManifest(at).type === 'module';
  cpSync(join(templates, 'generated'), at, {
    recursive: true,
    filter: (path) => !path.endsWith('.prettierrc'),
  });
  if (!isEsm) {
    for (const part of ['src', 'test']) removeExtensions(join(at, part));
    addToJest(at, jestLine());
  }
  await step(['npm', 'install', ...INSTALL, tarball, 'ioredis'], at);
  await step(['npm', 'run', 'build'], at);
  await stepInModules(lint, at);
  writeSnippets(at);
  await stepInModules(lintSnippets, at);
  for (const script of ['test', 'test:e2e']) await step(['npm', 'run', script], at, { REDIS_URL: redis });
  const installed = versionsIn(at, ['@nestjs/core', isEsm ? 'vitest' : 'ts-jest']);
  console.log(`${name}: ${installed}, its own tests, test kit: works (${secondsSince(startedAt)} s)`);
}

/**
 * The TypeScript blocks of a page.
 * @param {string} page
 */
function snippetsOf(page) {
  return [...readFileSync(join(root, page), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)];
}

/**
 * Writes the TypeScript snippets of the pages to src/snippets. A package that a snippet imports and
 * the project lacks is that of this repository. A snippet that is a spec runs with the project's own
 * tests.
 * @param {string} at
 */
function writeSnippets(at) {
  mkdirSync(join(at, 'src/snippets'));
  for (const page of PAGES) {
    for (const [index, [, code = '']] of snippetsOf(page).entries()) {
      const kind = /^\/\/ \S+\.spec\.ts$/m.test(code) ? '.spec.ts' : '.ts';
      writeFileSync(join(at, 'src/snippets', `${page.replace('/', '-')}-${index + 1}${kind}`), code);
      for (const [, name = ''] of code.matchAll(/ from '((?:@[\w-]+\/)?[\w-]+)[\w/-]*'/g)) {
        const [there, here] = [join(at, 'node_modules', name), join(root, 'node_modules', name)];
        if (!existsSync(there) && existsSync(here)) symlinkSync(here, there, 'dir');
      }
    }
  }
}

/**
 * Relative imports in a generated CommonJS project have no extension.
 * @param {string} path a folder
 */
function removeExtensions(path) {
  for (const file of readdirSync(path).filter((each) => each.endsWith('.ts'))) {
    const text = readFileSync(join(path, file), 'utf8');
    writeFileSync(join(path, file), text.replaceAll(/(?<= from '(?:\.|supertest\/)[^']*)\.js(?=';$)/gm, ''));
  }
}

/**
 * The line for jest in docs/testing.md.
 * @returns {object}
 */
function jestLine() {
  const text = readFileSync(join(root, 'docs/testing.md'), 'utf8');
  const [line] = /^"transformIgnorePatterns": .*$/m.exec(text) ?? [];
  if (!line) throw new Error('docs/testing.md has no line "transformIgnorePatterns": [...] for jest');
  return JSON.parse(`{${line}}`);
}

/**
 * Adds the settings to both files of a generated project that have settings of jest.
 * @param {string} at
 * @param {object} settings
 */
function addToJest(at, settings) {
  const manifest = readManifest(at);
  writeFileSync(
    join(at, 'package.json'),
    JSON.stringify({ ...manifest, jest: { ...manifest.jest, ...settings } }),
  );
  const path = join(at, 'test/jest-e2e.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...settings }));
}

/**
 * @param {string} at
 * @param {readonly string[]} names
 */
function versionsIn(at, names) {
  return names.map((name) => `${name} ${readManifest(join(at, 'node_modules', name)).version}`).join(', ');
}

/** @param {string} at the folder of a package */
function readManifest(at) {
  return JSON.parse(readFileSync(join(at, 'package.json'), 'utf8'));
}

/** @param {number} startedAt */
function secondsSince(startedAt) {
  return ((performance.now() - startedAt) / 1000).toFixed(0);
}

/**
 * Runs a program of the project.
 * @param {readonly string[]} command the path in node_modules, and the arguments
 * @param {string} at
 */
function stepInModules([program = '', ...args], at) {
  return step(['node', join('node_modules', program), ...args], at);
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
