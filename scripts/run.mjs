// node scripts/run.mjs test|test:browser|demo|sample|matrix|campaign|simulate|mutants|bench|docs [...arguments]
// runs `npm test`, `npm run demo` and the other commands. A fresh clone needs no step before.
// servers <command> [...arguments] runs a command on other servers.

import { cpSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { provideChromium } from './chromium.mjs';
import { ensureInstalled } from './install.mjs';
import { exitCodeOf, run } from './process.mjs';
import { provideRedis } from './redis.mjs';
import { planOf, runOnServers } from './servers.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const script = (/** @type {string[]} */ ...path) => join(root, 'node_modules', ...path);

/** jest needs the first flag for ES modules. The second silences Node's warning about the first. */
const JEST = [
  '--experimental-vm-modules',
  '--disable-warning=ExperimentalWarning',
  script('jest/bin/jest.js'),
];

/**
 * Each command resolves to its exit code. `env` has REDIS_SERVER, except for `docs`.
 * @type {Record<string, (args: string[], env: NodeJS.ProcessEnv) => Promise<number>>}
 */
const commands = {
  test: (args, env) => node([...JEST, ...args], env),

  // The pages in a real browser.
  async 'test:browser'(args, env) {
    const browser = { ...env, CHROMIUM: await provideChromium() };
    return node([...JEST, '--config', 'jest.browser.config.mjs', ...args], browser);
  },

  async demo(args, env) {
    await buildLibrary();
    await compile('tsconfig.sample.json');
    return node([join(root, '.cache/sample/demo/demo.js'), ...args], env);
  },

  async sample(args, env) {
    await buildLibrary();
    await compile('tsconfig.sample.json');
    return node([join(root, '.cache/sample/start.js'), ...args], env);
  },

  matrix: (args, env) => node([join(root, 'scripts/matrix.mjs'), ...args], env),

  campaign: (args, env) => compiled('campaign/main.js', args, env),

  simulate: (args, env) => compiled('simulation/main.js', args, env),

  mutants: (args, env) => compiled('simulation/mutants.js', args, env),

  async bench(args, env) {
    await ensureInstalled(join(root, 'bench'));
    await buildLibrary();
    await compile('tsconfig.bench.json');
    return node([join(root, '.cache/bench/bench/main.js'), ...args], env);
  },

  // Builds the documentation site to .cache/site. A dead link is an error. `--open` serves the site.
  async docs(args, env) {
    const site = join(root, 'site');
    const tool = (/** @type {string[]} */ ...path) => join(site, 'node_modules', ...path);
    await ensureInstalled(site);
    rmSync(join(site, 'api'), { recursive: true, force: true });
    await run(process.execPath, [tool('typedoc/bin/typedoc'), '--options', 'typedoc.json'], { cwd: site });
    copyMermaid(tool('mermaid/dist'), join(root, '.cache/site-public/mermaid'));
    await run(process.execPath, [tool('vitepress/bin/vitepress.js'), 'build', site], { cwd: root });
    if (!args.includes('--open')) return 0;
    return node([tool('vitepress/bin/vitepress.js'), 'preview', site], env);
  },
};

/**
 * What a page with diagrams loads, so that the site needs nothing from elsewhere.
 * @param {string} from
 * @param {string} to
 */
function copyMermaid(from, to) {
  rmSync(to, { recursive: true, force: true });
  for (const path of ['mermaid.esm.min.mjs', 'chunks/mermaid.esm.min'])
    cpSync(join(from, path), join(to, path), { recursive: true, filter: (file) => !file.endsWith('.map') });
}

/** Builds the library to dist/, where an import of the package's own name leads. */
function buildLibrary() {
  return run(process.execPath, [script('@nestjs/cli/bin/nest.js'), 'build'], { cwd: root });
}

/** @param {string} project */
function compile(project) {
  return run(process.execPath, [script('typescript/bin/tsc'), '-p', project], { cwd: root });
}

/**
 * Compiles campaign and simulation, and runs `main`.
 * @param {string} main
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 */
async function compiled(main, args, env) {
  await compile('tsconfig.campaign.json');
  return node([join(root, '.cache/campaign', main), ...args], env);
}

/**
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 */
function node(args, env) {
  return exitCodeOf(process.execPath, args, { cwd: root, env });
}

/** Throws if this Node is older than package.json allows. */
function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new Error(`Node >= 20.19 is needed, this is ${process.versions.node}: see https://nodejs.org.`);
}

const [name = '', ...args] = process.argv.slice(2);
try {
  const names = Object.keys(commands);
  const command = commands[name];
  if (!command && name !== 'servers')
    throw new Error(`Usage: node scripts/run.mjs ${[...names, 'servers'].join('|')} [...arguments]`);
  checkNode();
  await ensureInstalled(root);
  process.exitCode = await (command
    ? command(
        args,
        name === 'docs' ? process.env : { ...process.env, REDIS_SERVER: await provideRedis(root) },
      )
    : runOnServers(root, planOf(args, names)));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
