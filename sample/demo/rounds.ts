import type { FailOverFacts, HangFacts, RoundFacts } from './facts.js';
import type { LockKind } from './model.js';
import { Customers, Payments } from './payments.js';
import { until } from './processes.js';
import { LEASE, type Scene } from './scene.js';
import { longestGap } from './time-line.js';

/** Orders and payments of each that race while all servers are well. */
const RACE = { orders: 8, times: 12 };

/** Payments whose lock the replicas have when the master dies, and payments of the last second. */
const KEPT = 4;
const LAST = 8;

/** The locks of both kinds outlive their lease by this, in ms: the option `clockSkew`. */
const CLOCK_SKEW = 1_000;

/** Payments of the same orders at the same time, while all servers are well. */
export async function race(scene: Scene, payments: Payments): Promise<number> {
  const orders = payments.names('race', RACE.orders);
  await payments.race(orders, RACE.times);
  const doubles = payments.doublesOf(orders);
  scene.timeLine.add(
    'bank',
    `${RACE.orders * RACE.times} payments of ${RACE.orders} orders at once: ${doubles === 0 ? 'no order is charged twice' : `${doubles} charges too many`}`,
    doubles === 0 ? 'good' : 'bad',
  );
  return doubles;
}

export async function roundWithoutLock(scene: Scene): Promise<RoundFacts> {
  const payments = new Payments(scene, 'none', 'round-1');
  // A busy machine may answer the requests of an order one after the other: then there is no race.
  let calmDoubles = 0;
  for (let attempt = 1; attempt <= 4 && calmDoubles === 0; attempt++)
    calmDoubles = await race(
      scene,
      attempt === 1 ? payments : new Payments(scene, 'none', `round-1-${attempt}`),
    );
  return { lock: 'none', requests: payments.requests, refused: payments.refused, calmDoubles };
}

export async function roundWithFailOver(
  scene: Scene,
  lock: Exclude<LockKind, 'none'>,
  number: number,
): Promise<RoundFacts> {
  const payments = new Payments(scene, lock, `round-${number}`);
  const calmDoubles = await race(scene, payments);
  const failOver = await failOverUnderPayments(scene, payments, { freeze: lock === 'replica' });
  return { lock, requests: payments.requests, refused: payments.refused, calmDoubles, failOver };
}

/**
 * The master dies before its replicas have its last writes, under payments that take longer than the
 * fail-over. The same payments then come again by the other copy of the shop.
 *
 * `freeze`: afterwards the first copy freezes for longer than its lease, with a charge on its way.
 */
export async function failOverUnderPayments(
  scene: Scene,
  payments: Payments,
  { freeze }: { freeze: boolean },
): Promise<FailOverFacts> {
  const { bank, redis, timeLine } = scene;
  const [first, second] = scene.shops;
  const say = timeLine.add.bind(timeLine);
  const isReplicaLock = payments.lock === 'replica';
  const customers = new Customers(scene, payments);

  const kept = payments.names('kept', KEPT);
  const last = payments.names('last', LAST);
  const frozen = freeze ? payments.names('frozen', 1) : [];
  bank.holdBack(first.name, [...kept, ...last, ...frozen]);
  const keptAnswers = kept.map((order) => payments.pay(first, order));
  const frozenAnswers = frozen.map((order) => payments.pay(first, order));
  const held = KEPT + frozen.length;
  await until('the first payments have their locks', () =>
    [...kept, ...frozen].every((order) => bank.isOnTheWay(first.name, order)),
  );
  await redis.untilReplicated();
  say('lock', `${held} payments hold their locks, which all servers have; the bank takes its time`);

  await redis.letReplicasLag();
  say(
    'fault',
    `the replicas stop (SIGSTOP), their links are full: only ${redis.master.name} has what it writes now`,
  );
  const answered = new Set<string>();
  const lastAnswers = last.map(async (order) => {
    const answer = await payments.pay(first, order);
    answered.add(order);
    return answer;
  });
  await until('the last payments have their locks or are refused', () =>
    last.every((order) => answered.has(order) || bank.isOnTheWay(first.name, order)),
  );
  const granted = last.filter((order) => bank.isOnTheWay(first.name, order)).length;
  say(
    'lock',
    isReplicaLock && granted === 0
      ? `${LAST} more payments get 503: no replica has confirmed their locks`
      : `${granted} more payments get their locks from ${redis.master.name}`,
    granted === 0 ? 'good' : 'plain',
  );

  const dead = await scene.killMaster(payments.lock);
  redis.continueReplicas();
  say('fault', `kill -9 for the master, ${dead.name}; the replicas go on`);
  const keptAgain = kept.map((order) => payments.payUntilPaid(second, order));
  const lastAgain = last.map((order) => payments.payUntilPaid(second, order));
  const master = await redis.untilPromoted(dead);
  const promotedAt = timeLine.now;
  await redis.startAgain();
  say('note', `${dead.name} is started again, as a replica`);

  if (isReplicaLock) {
    await until(
      'the held locks are renewed on the new master',
      async () => {
        const ages = await Promise.all(
          [...kept, ...frozen].map(async (order) => {
            const rest = await master.client.pttl(`lock:order:${order}`);
            return rest < 0 ? Infinity : LEASE + CLOCK_SKEW - rest;
          }),
        );
        return ages.every((age) => age < timeLine.now - promotedAt);
      },
      LEASE + CLOCK_SKEW,
    ).then(
      () => say('lock', `the ${held} held locks are renewed on ${master.name}: they go on`, 'good'),
      () => {}, // the facts tell
    );
    say('lock', `no new locks for now: until the links to ${master.name} are older than any lease`);
  } else {
    const again = await Promise.all(lastAgain);
    const charged = again.filter((answer) => answer.charged).length;
    say('lock', `${second.name} gets ${charged} of the same locks from ${master.name}, and charges`, 'bad');
  }
  bank.letThrough(first.name, [...kept, ...last]);
  const ends = await Promise.all([...keptAnswers, ...lastAnswers]);
  let wentOn = ends.filter(({ status, lockHeld }) => status === 201 && lockHeld).length;
  const doubles = payments.doublesOf(last);
  if (isReplicaLock) say('bank', `the bank answers: ${wentOn} payments end under their locks`, 'good');
  else
    say(
      'bank',
      `the first charges arrive as well: ${doubles} orders are charged twice`,
      doubles > 0 ? 'bad' : 'plain',
    );

  let lateChargeRefused: boolean | undefined;
  if (freeze) {
    const [order = ''] = frozen;
    first.stop();
    wentOn += 1;
    say('fault', `${first.name} freezes (SIGSTOP) with a charge on its way to the bank`);
    const frozenAgain = payments.payUntilPaid(second, order);
    await Promise.all(lastAgain);
    say('lock', `new locks again: ${second.name} charges the ${LAST} orders, once`, 'good');
    await frozenAgain;
    say('lock', `the lease of the frozen ${first.name} has ended: ${second.name} gets its lock and charges`);
    first.continue();
    bank.letThrough(first.name, frozen);
    await Promise.all(frozenAnswers);
    lateChargeRefused = bank.refused(order) === 1;
    say(
      'bank',
      `${first.name} goes on: its late charge ${lateChargeRefused ? 'has the smaller fencing token, the bank refuses it' : 'is charged'}`,
      lateChargeRefused ? 'good' : 'bad',
    );
  }
  await Promise.all([...keptAgain, ...lastAgain]);
  await customers.leave();
  const mine = [...kept, ...last, ...frozen];
  return {
    doubles: payments.doublesOf(payments.orders) - payments.doublesOf(payments.names('race', RACE.orders)),
    unpaid: mine.filter((order) => bank.charges(order) === 0).length,
    gap: longestGap(customers.grants, customers.startedAt, timeLine.now),
    held: held + (isReplicaLock ? 0 : granted),
    wentOn,
    ...(lateChargeRefused === undefined ? {} : { lateChargeRefused }),
  };
}

/** A replica hangs, so the lock fails closed. Then the replica goes on. */
export async function hangingReplica(scene: Scene): Promise<HangFacts> {
  const { bank, redis, timeLine } = scene;
  const [first, second] = scene.shops;
  const payments = new Payments(scene, 'replica', 'hang');
  const [order = ''] = payments.names('order', 1);
  const replica = redis.replicas[0]!;
  replica.stop();
  timeLine.add('fault', `${replica.name}, a replica, hangs (SIGSTOP)`);
  const { status, retryAfter = 0 } = await payments.pay(first, order);
  const charges = bank.charges(order);
  timeLine.add(
    'lock',
    `a payment gets ${status}, Retry-After: ${retryAfter / 1_000} s; ${charges === 0 ? 'nothing is charged' : 'it is charged'}`,
    status === 503 && charges === 0 ? 'good' : 'bad',
  );
  replica.continue();
  const after = await payments.pay(second, order);
  timeLine.add(
    'lock',
    `${replica.name} goes on: the payment gets ${after.status}, its lock confirmed by ${after.confirmedBy ?? 0} replicas`,
    after.status === 201 ? 'good' : 'bad',
  );
  return { status, charges, statusAfter: after.status };
}
