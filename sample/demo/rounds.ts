import { FailOver } from './fail-over.js';
import type { HangFacts, RoundFacts } from './facts.js';
import type { LockKind } from './model.js';
import { Payments } from './payments.js';
import type { Scene } from './scene.js';

/** Orders and payments of each that race while all servers are well. */
const RACE = { orders: 8, times: 12 };

/** Payments of the same orders at the same time, while all servers are well. */
async function race(scene: Scene, payments: Payments): Promise<number> {
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
  const failOver = await new FailOver(scene, payments).run({ freeze: number === 3 });
  return { lock, requests: payments.requests, refused: payments.refused, calmDoubles, failOver };
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
