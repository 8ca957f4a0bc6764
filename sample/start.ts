import { fileURLToPath } from 'node:url';
import { Bank } from './demo/bank.js';
import { Processes } from './demo/processes.js';
import { RedisServers } from './demo/redis.js';

/*
 * npm run sample:<name>
 *
 * Starts copies of a sample on the ports 3000, 3001 and so on, or PORT and so on. If REDIS_URL is
 * not set, starts a Redis master with two replicas for them. Everything ends with Ctrl-C.
 */

/** What each sample needs. */
const SAMPLES: Readonly<Record<string, { copies: number; redis: boolean; bank?: boolean }>> = {
  shop: { copies: 2, redis: true, bank: true },
  everywhere: { copies: 1, redis: false },
  observability: { copies: 1, redis: true },
  scheduled: { copies: 2, redis: true },
  limited: { copies: 2, redis: true },
  election: { copies: 2, redis: true },
};

const [name = ''] = process.argv.slice(2);
const sample = SAMPLES[name];
const processes = new Processes();
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

processes.exitOnSignals(0);

/** Starts a program whose end is the end of everything. */
function start(path: string, title: string, env: NodeJS.ProcessEnv): void {
  const child = processes.start(process.execPath, [here(path)], env, (line) =>
    console.log(`[${title}] ${line}`),
  );
  child.once('exit', (code) => {
    if (!processes.isEnding) console.log(`[${title}] ended with code ${code}`);
    void processes.exit(1);
  });
}

async function main(): Promise<void> {
  if (sample === undefined)
    throw new Error(`There is no sample '${name}', only ${Object.keys(SAMPLES).join(', ')}`);
  const env: NodeJS.ProcessEnv = {};
  if (sample.redis && process.env['REDIS_URL'] === undefined) {
    console.log('Starting a Redis master and two replicas ...');
    const { master } = await RedisServers.start(processes);
    env['REDIS_URL'] = `redis://${master.address}`;
    // Locks then need not wait for the quarantine of the servers that have just been started.
    env['NODE_ENV'] = 'development';
    console.log(`    redis-cli -p ${master.port} --scan --pattern 'lock:*'`);
  }
  if (sample.bank) {
    const { url } = await Bank.open();
    env['BANK_URL'] = url;
    console.log(`    curl ${url}/charges/7`);
  }
  const first = Number(process.env['PORT'] ?? 3000);
  for (let port = first; port < first + sample.copies; port++)
    start(`${name}/main.js`, String(port), { ...env, PORT: String(port) });
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  await processes.exit(1);
}
