import { accessSync, constants, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArguments } from './arguments.js';
import { Engine } from './engine.js';
import { type HangFacts, NAMES, problemsOf, type RoundFacts, tableLines, tableRows } from './facts.js';
import type { LockKind } from './model.js';
import { PageServer } from './page-server.js';
import { Payments } from './payments.js';
import { Processes } from './processes.js';
import { recordingOf } from './recording.js';
import { hangingReplica, roundWithFailOver, roundWithoutLock } from './rounds.js';
import { Scene } from './scene.js';
import { LEASE } from './settings.js';
import { messageOf, Terminal } from './terminal.js';
import { seconds } from './time-line.js';

/*
 * npm run demo [-- [--keep] [--page] [--record picture.svg]]
 *
 * A Redis master with two replicas, three Sentinels, a bank and two copies of the shop. Payments
 * without a lock, with the usual lock and with the replica lock; in the last two rounds the master
 * is killed while its replicas lag behind. `--keep` leaves everything running for the page, `--page`
 * starts without the rounds, `--record` draws the run. DEMO_PORT is the port of the page.
 */

const terminal = new Terminal();

async function rounds(scene: Scene): Promise<{ facts: readonly RoundFacts[]; hang: HangFacts }> {
  const begin = (lock: LockKind, title: string): void => {
    scene.lock = lock;
    scene.title = title;
    scene.timeLine.add('round', title);
  };
  begin('none', '1. Without a lock');
  const facts = [await roundWithoutLock(scene)];
  begin('usual', '2. With the usual lock, SET NX PX');
  facts.push(await roundWithFailOver(scene, 'usual', 2));
  begin('replica', '3. With @ReplicaLocked');
  await untilGranted(scene);
  facts.push(await roundWithFailOver(scene, 'replica', 3));
  begin('replica', '4. A replica hangs');
  return { facts, hang: await hangingReplica(scene) };
}

/** The fail-over of the round before costs a quarantine. */
async function untilGranted(scene: Scene): Promise<void> {
  scene.timeLine.add('lock', `quarantine after the fail-over of round 2: no new lock for ${LEASE / 1_000} s`);
  const payments = new Payments(scene, 'replica', 'ready');
  const orders = payments.names('order', 2);
  await Promise.all(scene.shops.map((shop, i) => payments.payUntilPaid(shop, orders[i]!)));
}

/** Prints the table. Returns the exit code. */
function showFacts(facts: readonly RoundFacts[], hang: HangFacts): number {
  terminal.line();
  for (const line of tableLines(tableRows(facts))) terminal.line(line);
  terminal.line();
  const problems = problemsOf(facts, hang);
  for (const problem of problems) terminal.line(`FAILED: ${problem}.`);
  if (problems.length > 0) return 1;
  terminal.line(`With ${NAMES.replica} no order was charged twice, and no held lock was lost.`);
  return 0;
}

/** Says what the demonstration waits for, twice a second. */
function showProgress(scene: Scene, engine: Engine, processes: Processes): NodeJS.Timeout {
  return setInterval(() => {
    if (scene.phase !== 'rounds' || processes.isEnding) return;
    const { quarantine, payments, servers } = engine.state();
    const waiting = payments.filter(({ step }) => step === 'waiting').length;
    const parts = [
      `${seconds(scene.timeLine.now)} s`,
      servers.some(({ role, condition }) => role === 'master' && condition === 'running') ? '' : 'no master',
      quarantine > 0 ? `new replica locks in ${Math.ceil(quarantine / 1_000)} s` : '',
      `${payments.length - waiting} payments at work, ${waiting} waiting`,
    ];
    terminal.progress(parts.filter(Boolean).join(' · '));
  }, 500);
}

function showWhatToTry({ shops, bank, redis }: Scene): void {
  const [first, second] = shops;
  terminal.line(`
Everything stays. Use the page, or try:

    curl -X POST ${first.url}/orders/42/pay
    curl -X POST ${second.url}/orders/42/pay
    curl -X POST ${first.url}/orders/43/pay-unlocked & curl -X POST ${second.url}/orders/43/pay-unlocked
    curl ${bank.url}/charges/43
    redis-cli -p ${redis.sentinels[0]!.port} sentinel get-master-addr-by-name shop
    redis-cli -p ${redis.master.port} --scan --pattern 'lock:*'

Ctrl-C ends everything.`);
}

async function main(processes: Processes): Promise<number> {
  const options = parseArguments(process.argv.slice(2));
  // Said now, and not after a minute of rounds.
  if (options.record !== undefined) accessSync(dirname(resolve(options.record)), constants.W_OK);
  terminal.line(
    'Starting a Redis master, two replicas, three Sentinels, a bank, and two copies of a shop ...',
  );
  const scene = await Scene.start(processes);
  const engine = new Engine(scene);
  engine.events.subscribe((event) => {
    if (!processes.isEnding) terminal.event(event);
  });
  const page = await PageServer.start(engine, Number(process.env['DEMO_PORT'] ?? 0));
  terminal.line(
    `    watch it at ${page.url}${options.keep ? '' : ' (npm run demo -- --keep leaves it running)'}`,
  );
  let code = 0;
  if (options.rounds) {
    scene.phase = 'rounds';
    const progress = showProgress(scene, engine, processes);
    const { facts, hang } = await rounds(scene);
    clearInterval(progress);
    code = showFacts(facts, hang);
    const picture = recordingOf(facts);
    if (options.record !== undefined && picture !== undefined)
      writeFileSync(resolve(options.record), picture);
  }
  if (options.keep) {
    if (!options.rounds) scene.lock = 'replica';
    scene.phase = 'free';
    scene.title = 'It is your turn';
    showWhatToTry(scene);
    await sleep(2 ** 31 - 1);
  }
  scene.phase = 'ending';
  return code;
}

const processes = new Processes();
processes.exitOnSignals(130, () => terminal.line('\nStopping everything ...'));

/** An error while everything is being stopped is no failure. */
async function fail(error: unknown): Promise<void> {
  if (processes.isEnding) return;
  terminal.line(messageOf(error));
  await processes.exit(1);
}

process.on('unhandledRejection', (error) => void fail(error));
try {
  await processes.exit(await main(processes));
} catch (error) {
  await fail(error);
}
