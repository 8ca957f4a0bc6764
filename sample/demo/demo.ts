import { setTimeout as sleep } from 'node:timers/promises';
import { NAMES, problemsOf, tableLines, tableRows, type RoundFacts } from './facts.js';
import { Engine } from './engine.js';
import { Payments } from './payments.js';
import { Processes } from './processes.js';
import { hangingReplica, roundWithFailOver, roundWithoutLock } from './rounds.js';
import { LEASE, Scene } from './scene.js';
import { Terminal } from './terminal.js';
import { seconds } from './time-line.js';

/*
 * npm run demo [-- --keep]
 *
 * A Redis master with two replicas, three Sentinels, a bank and two copies of the shop. Payments
 * without a lock, with the usual lock and with the replica lock; in the last two rounds the master
 * is killed while its replicas lag behind.
 */

const keep = process.argv.includes('--keep');
const processes = new Processes();
const terminal = new Terminal();

processes.exitOnSignals(130, () => terminal.line('\nStopping everything ...'));

/** Says what the demonstration waits for, twice a second. */
function showProgress(scene: Scene, engine: Engine): NodeJS.Timeout {
  return setInterval(() => {
    const { quarantine, payments } = engine.state();
    const waiting = payments.filter(({ step }) => step === 'waiting').length;
    const parts = [
      `${seconds(scene.timeLine.now)} s`,
      quarantine > 0 ? `new replica locks in ${Math.ceil(quarantine / 1_000)} s` : '',
      `${payments.length - waiting} payments at work, ${waiting} waiting`,
    ];
    terminal.progress(parts.filter(Boolean).join(' · '));
  }, 500);
}

async function rounds(scene: Scene): Promise<number> {
  const begin = (lock: RoundFacts['lock'], title: string): void => {
    scene.lock = lock;
    scene.title = title;
    scene.timeLine.add('round', title);
  };
  const facts: RoundFacts[] = [];
  begin('none', `1. Without a lock`);
  facts.push(await roundWithoutLock(scene));
  begin('usual', `2. With the usual lock, SET NX PX`);
  facts.push(await roundWithFailOver(scene, 'usual', 2));
  begin('replica', `3. With @ReplicaLocked`);
  await untilGranted(scene);
  facts.push(await roundWithFailOver(scene, 'replica', 3));
  begin('replica', '4. A replica hangs');
  const hang = await hangingReplica(scene);

  terminal.line();
  for (const line of tableLines(tableRows(facts))) terminal.line(line);
  const problems = problemsOf(facts, hang);
  terminal.line();
  for (const problem of problems) terminal.line(`FAILED: ${problem}.`);
  if (problems.length === 0)
    terminal.line(`Under ${NAMES.replica} no order was charged twice, and no held lock was lost.`);
  return problems.length === 0 ? 0 : 1;
}

/** The fail-over of the round before costs a quarantine. */
async function untilGranted(scene: Scene): Promise<void> {
  scene.timeLine.add(
    'lock',
    `no replica locks for one lease (${LEASE / 1_000} s) after the fail-over of round 2`,
  );
  const payments = new Payments(scene, 'replica', 'ready');
  const orders = payments.names('order', 2);
  await Promise.all(scene.shops.map((shop, i) => payments.payUntilPaid(shop, orders[i]!)));
}

async function main(): Promise<number> {
  terminal.line(
    'Starting a Redis master, two replicas, three Sentinels, a bank, and two copies of a shop ...',
  );
  const scene = await Scene.start(processes);
  const engine = new Engine(scene);
  engine.events.subscribe((event) => terminal.event(event));
  scene.phase = 'rounds';
  const progress = showProgress(scene, engine);
  const code = await rounds(scene);
  clearInterval(progress);
  if (keep) {
    scene.phase = 'free';
    await sleep(2 ** 31 - 1);
  }
  scene.phase = 'ending';
  return code;
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
