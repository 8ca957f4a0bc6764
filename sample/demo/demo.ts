import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort, Processes, until } from './processes.js';
import { race, type RaceResult } from './race.js';
import { startRedis } from './redis.js';
import { Reports } from './reports.js';

/*
 * npm run demo [-- --keep]
 *
 * Two copies of the shop on a Redis master with two replicas. Payments race without the lock and
 * with the lock, then a replica hangs.
 */

const keep = process.argv.includes('--keep');
const ORDERS = 8;
const TIMES = 25;
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const processes = new Processes();

processes.exitOnSignals(130, () => console.log('\nStopping everything ...'));

function show(title: string, result: RaceResult): void {
  const at = (share: number): string =>
    `${result.latencies[Math.floor((result.latencies.length - 1) * share)]?.toFixed(0)} ms`;
  const list = (counts: ReadonlyMap<unknown, number>): string =>
    [...counts].map(([what, times]) => `${times} x ${String(what).trim()}`).join(', ');
  console.log(`${title}
    requests          ${result.requests} for ${ORDERS} orders
    answers           ${list(result.statuses)}
    charged twice     ${result.doubleCharges === 0 ? 'never' : `${result.doubleCharges} times`}
    latency           p50 ${at(0.5)}, p99 ${at(0.99)}`);
  if (result.confirmations.size > 0) {
    console.log(
      `    lock confirmed    ${[...result.confirmations].map(([by, times]) => `${times} x by ${by} replicas`).join(', ')}`,
    );
  }
}

function progress(done: number, all: number): void {
  if (process.stdout.isTTY)
    process.stdout.write(done === all ? '\r\x1b[K' : `\r    ${done} of ${all} answers`);
}

const orders = (name: string): string[] => Array.from({ length: ORDERS }, (_, i) => `${name}-${i + 1}`);

async function main(): Promise<number> {
  console.log('Starting a Redis master and two replicas, a bank, and two copies of the shop ...');
  const { masterPort, replicas } = await startRedis(processes);
  const bankPort = await freePort();
  const bank = `http://127.0.0.1:${bankPort}`;
  processes.start(process.execPath, [here('bank-server.js')], { PORT: String(bankPort) });
  const shops: string[] = [];
  const reports = new Reports();
  let lastWarning = '';
  for (const index of [0, 1]) {
    const port = await freePort();
    shops.push(`http://127.0.0.1:${port}`);
    const env = {
      PORT: String(port),
      REDIS_URL: `redis://127.0.0.1:${masterPort}`,
      BANK_URL: bank,
      LOCK_WAIT: '5s',
      NODE_ENV: 'development',
      NO_COLOR: '1',
    };
    processes.start(process.execPath, [here('../shop/main.js')], env, (line) => {
      reports.onLine(index, line);
      if (line.includes('[Shop]')) lastWarning = line.replace(/^.*\[Shop\] /, '');
    });
  }
  await until('both copies of the shop answer', async () => {
    for (const shop of shops) await fetch(`${shop}/orders/ready`);
    await fetch(`${bank}/charges/none`);
    return true;
  });
  console.log(
    '    (quarantine: 0, because this Redis starts together with the shop. Leave it out in production.)\n',
  );

  // A busy machine may answer the requests of an order one after the other: then there is no race.
  let unlocked = await race(shops, bank, 'pay-unlocked', orders('unlocked'), TIMES, progress);
  for (let again = 1; again <= 3 && unlocked.doubleCharges === 0; again++)
    unlocked = await race(shops, bank, 'pay-unlocked', orders(`unlocked-${again}`), TIMES, progress);
  show('1. Without the lock', unlocked);
  const locked = await race(shops, bank, 'pay', orders('locked'), TIMES, progress);
  show('\n2. With @ReplicaLocked', locked);
  const inService = await race(shops, bank, 'pay-in-service', orders('service'), TIMES, progress);
  show('\n3. With LockService.withLock and the fencing token', inService);

  console.log('\n4. A replica hangs (SIGSTOP). This shop asks for both replicas, so the lock fails closed');
  replicas[1]!.kill('SIGSTOP');
  const [hungOrder = ''] = orders('hung');
  const hung = await fetch(`${shops[0]}/orders/${hungOrder}/pay`, {
    method: 'POST',
    signal: AbortSignal.timeout(30_000),
  });
  await until('the shop has logged why', () => lastWarning !== '');
  console.log(`    answer            ${hung.status}, Retry-After: ${hung.headers.get('retry-after')} s`);
  console.log(
    `    logged by a filter of the shop (sample/shop/unavailable.filter.ts):\n                      ${lastWarning}`,
  );
  const { charges } = (await (await fetch(`${bank}/charges/${hungOrder}`)).json()) as { charges: number };
  console.log(`    charged           ${charges === 0 ? 'no' : 'yes'}`);

  replicas[1]!.kill('SIGCONT');
  const back = await fetch(`${shops[1]}/orders/${hungOrder}/pay`, { method: 'POST' });
  const paid = (await back.json()) as { status: string; confirmedBy: number };
  console.log(
    `\n5. The replica runs again\n    answer            ${back.status} ${paid.status}, lock confirmed by ${paid.confirmedBy} replicas`,
  );
  await until('the report is written again', () => reports.lastTick > Date.now() - 2_000);
  console.log(`\n6. The scheduled report: both copies tick every second, one copy writes
    ticks             ${reports.ticks}
    written           ${reports.written} times: ${reports.by[0]} by the first copy, ${reports.by[1]} by the second
    twice for a tick  ${reports.twice === 0 ? 'never' : `${reports.twice} times: a copy was later than minHoldTime, on a busy machine`}
    not written       ${reports.ticks - reports.written + reports.twice}, while the lock failed closed or a copy was late`);

  const problems = [
    unlocked.doubleCharges === 0 &&
      'the race without the lock charged no order twice, so the race showed nothing',
    locked.doubleCharges > 0 && 'a locked order was charged twice',
    inService.doubleCharges > 0 && 'an order locked in the service was charged twice',
    hung.status !== 503 && `the lock did not fail closed: ${hung.status}`,
    charges !== 0 && 'an order was charged without a confirmed lock',
    paid.status !== 'charged' && 'the order was not charged after the replica came back',
  ].filter((problem) => problem !== false);
  for (const problem of problems) console.log(`FAILED: ${problem}`);
  if (problems.length === 0) console.log('\nNo order was charged twice under the lock.');

  if (keep) {
    console.log(`\nThe shops stay. Try:

    curl -X POST ${shops[0]}/orders/42/pay
    curl -X POST ${shops[1]}/orders/42/pay
    curl -X POST ${shops[0]}/orders/43/pay-unlocked & curl -X POST ${shops[1]}/orders/43/pay-unlocked
    curl ${bank}/charges/43
    redis-cli -p ${masterPort} --scan --pattern 'lock:*'

Ctrl-C ends everything.`);
    await sleep(2 ** 31 - 1);
  }
  return problems.length === 0 ? 0 : 1;
}

try {
  await processes.exit(await main());
} catch (error) {
  // An error while everything is being stopped is no failure.
  if (!processes.isEnding) {
    console.error(error);
    await processes.exit(1);
  }
}
