import type { FailOverFacts, Moments } from './facts.js';
import { Customers, type Payments } from './payments.js';
import { until } from './processes.js';
import type { RedisServer } from './redis-server.js';
import type { Scene } from './scene.js';
import { CLOCK_SKEW, LEASE } from './settings.js';
import type { Answer } from './shop.js';
import { longestGap, seconds } from './time-line.js';

/** Payments whose lock the replicas have when the master dies, and payments behind these. */
const KEPT = 4;
const LAST = 8;

/** Payments of some orders, by one shop. */
interface Sent {
  readonly orders: readonly string[];
  readonly answers: readonly Promise<Answer>[];
}

/**
 * The master dies before its replicas have its last writes, under payments that take longer than the
 * fail-over. The same payments then come again by the other copy of the shop.
 *
 * The bank takes its time: it holds the charges of the first copy back until the story lets them
 * through. So a fail-over on a slow machine is not longer than the payments.
 */
export class FailOver {
  private readonly customers: Customers;
  /** Payments whose locks every server has, and payments of the time in which the replicas lag. */
  private kept: Sent = { orders: [], answers: [] };
  private last: Sent = { orders: [], answers: [] };
  /** The payment during which the first copy freezes; none if it does not. */
  private frozen: Sent = { orders: [], answers: [] };
  /** The same payments at the second copy. */
  private keptAgain: Sent = { orders: [], answers: [] };
  private lastAgain: Sent = { orders: [], answers: [] };
  private master: RedisServer;
  private held = 0;
  private wentOn = 0;
  private lateChargeRefused: boolean | undefined;
  private readonly moments: Partial<{ -readonly [K in keyof Moments]: Moments[K] }> = {};

  constructor(
    private readonly scene: Scene,
    private readonly payments: Payments,
  ) {
    this.customers = new Customers(scene, payments);
    this.master = scene.redis.master;
  }

  /** `freeze`: later the first copy freezes for longer than its lease, with a charge on its way. */
  async run({ freeze }: { freeze: boolean }): Promise<FailOverFacts> {
    await this.takeLocks(freeze ? 1 : 0);
    await this.payWhileReplicasLag();
    await this.killMaster();
    await (this.payments.lock === 'replica' ? this.seeHeldLocksGoOn() : this.seeLocksHandedOutAgain());
    await this.seePaymentsEnd();
    if (freeze) await this.freezeFirstShop();
    return this.end();
  }

  private async takeLocks(frozen: number): Promise<void> {
    const { bank, redis, shops } = this.scene;
    const kept = this.payments.names('kept', KEPT);
    const more = this.payments.names('frozen', frozen);
    const orders = [...kept, ...more];
    bank.holdBack(shops[0].name, [...orders, ...this.payments.names('last', LAST)]);
    this.kept = this.send(kept);
    this.frozen = this.send(more);
    await until('the first payments have their locks', () => orders.every((order) => this.isOnTheWay(order)));
    await redis.untilReplicated();
    this.held = orders.length;
    this.moments.keptAt = this.now;
    const what =
      this.payments.lock === 'none'
        ? 'are at work, without locks'
        : 'hold their locks, which all servers have';
    this.say('lock', `${this.held} payments ${what}; the bank takes its time`);
  }

  private async payWhileReplicasLag(): Promise<void> {
    this.moments.stoppedAt = this.now;
    await this.scene.redis.letReplicasLag();
    const { name } = this.master;
    this.say(
      'fault',
      `the replicas stop (SIGSTOP), their links are full: only ${name} has what it writes now`,
    );
    this.moments.askedAt = this.now;
    const answered = new Set<string>();
    this.last = this.send(this.payments.names('last', LAST));
    for (const answer of this.last.answers) void answer.then(({ order }) => answered.add(order));
    await until('the last payments have their locks or are refused', () =>
      this.last.orders.every((order) => answered.has(order) || this.isOnTheWay(order)),
    );
    const granted = this.last.orders.filter((order) => this.isOnTheWay(order)).length;
    this.held += granted;
    if (this.payments.lock === 'none') this.say('payment', `${granted} more payments are at work`);
    else if (granted > 0) this.say('lock', `${granted} more payments get their locks from ${name}`);
    else this.say('lock', `${LAST} more payments get 503: no replica has confirmed their locks`, 'good');
  }

  private async killMaster(): Promise<void> {
    const { redis } = this.scene;
    const dead = await this.scene.killMaster(this.payments.lock);
    redis.continueReplicas();
    this.moments.killedAt = this.now;
    this.moments.dead = dead.name;
    this.say('fault', `kill -9 for the master, ${dead.name}; the replicas go on`);
    this.keptAgain = this.sendAgain(this.kept.orders);
    this.lastAgain = this.sendAgain(this.last.orders);
    this.master = await redis.untilPromoted(dead);
    this.moments.promotedAt = this.now;
    this.moments.promoted = this.master.name;
    await redis.startAgain();
    this.moments.startedAgainAt = this.now;
    this.say('note', `${dead.name} is started again, as a replica`);
  }

  private async seeLocksHandedOutAgain(): Promise<void> {
    const [first, second] = this.scene.shops;
    const answers = await Promise.all(this.lastAgain.answers);
    this.moments.againAt = this.now;
    const charged = answers.filter((answer) => answer.charged).length;
    const after = seconds(this.now - this.moments.askedAt!);
    const what =
      this.payments.lock === 'none'
        ? `${second.name} charges ${charged} of the orders that ${first.name} is working on`
        : `${second.name} gets ${charged} of the locks that ${first.name} got ${after} s ago, and charges (lease ${LEASE / 1_000} s)`;
    this.say('lock', what, charged > 0 ? 'bad' : 'plain');
  }

  private async seeHeldLocksGoOn(): Promise<void> {
    const orders = [...this.kept.orders, ...this.frozen.orders];
    const { name } = this.master;
    try {
      await until('the held locks are renewed', () => this.areRenewed(orders), LEASE + CLOCK_SKEW);
      this.wentOn += this.frozen.orders.length;
      this.say('lock', `the ${orders.length} held locks are renewed on ${name}: they go on`, 'good');
    } catch {
      this.say('lock', `not all of the held locks are renewed on ${name}`, 'bad');
    }
    this.say('lock', `no new locks for now: until the links to ${name} are older than any lease`);
  }

  /** Whether the keys were written behind the kill, which only the new master can have done. */
  private async areRenewed(orders: readonly string[]): Promise<boolean> {
    const sinceKill = this.now - this.moments.killedAt!;
    const rests = await Promise.all(orders.map((order) => this.master.client.pttl(`lock:order:${order}`)));
    return rests.every((rest) => rest > Math.max(0, LEASE + CLOCK_SKEW - sinceKill));
  }

  private async seePaymentsEnd(): Promise<void> {
    const { bank, shops } = this.scene;
    bank.letThrough(shops[0].name, [...this.kept.orders, ...this.last.orders]);
    const ends = await Promise.all([...this.kept.answers, ...this.last.answers]);
    this.moments.endedAt = this.now;
    const held = ends.filter(({ status, lockHeld }) => status === 201 && lockHeld).length;
    this.wentOn += held;
    const doubles = this.payments.doublesOf(this.last.orders);
    if (doubles > 0)
      this.say('bank', `the first charges arrive as well: ${doubles} orders are charged twice`, 'bad');
    else this.say('bank', `the bank answers: ${held} payments end under their locks`, 'good');
  }

  private async freezeFirstShop(): Promise<void> {
    const { bank, shops } = this.scene;
    const [first, second] = shops;
    const [order = ''] = this.frozen.orders;
    first.stop();
    this.moments.frozenAt = this.now;
    this.say('fault', `${first.name} freezes (SIGSTOP) with a charge on its way to the bank`);
    const again = this.payments.payUntilPaid(second, order);
    await Promise.all(this.lastAgain.answers);
    this.moments.againAt = this.now;
    this.say('lock', `new locks again: ${second.name} charges the ${LAST} orders, once`, 'good');
    await again;
    this.say(
      'lock',
      `the lease of the frozen ${first.name} has ended: ${second.name} gets its lock and charges`,
    );
    first.continue();
    bank.letThrough(first.name, this.frozen.orders);
    await Promise.all(this.frozen.answers);
    this.moments.thawedAt = this.now;
    this.lateChargeRefused = bank.refused(order) === 1;
    if (this.lateChargeRefused)
      this.say(
        'bank',
        `${first.name} goes on: its late charge has the smaller token, the bank refuses it`,
        'good',
      );
    else this.say('bank', `${first.name} goes on: its late charge is a second one`, 'bad');
  }

  private async end(): Promise<FailOverFacts> {
    await Promise.all([...this.keptAgain.answers, ...this.lastAgain.answers]);
    await this.customers.leave();
    const orders = [...this.kept.orders, ...this.last.orders, ...this.frozen.orders];
    return {
      doubles: this.payments.doublesOf([...orders, ...this.customers.orders]),
      unpaid: orders.filter((order) => this.scene.bank.charges(order) === 0).length,
      gap: longestGap(this.customers.grants, this.customers.startedAt, this.now),
      held: this.held,
      wentOn: this.wentOn,
      ...(this.lateChargeRefused === undefined ? {} : { lateChargeRefused: this.lateChargeRefused }),
      moments: this.moments as Moments,
    };
  }

  private get now(): number {
    return this.scene.timeLine.now;
  }

  private get say() {
    return this.scene.timeLine.add.bind(this.scene.timeLine);
  }

  private isOnTheWay(order: string): boolean {
    return this.scene.bank.isOnTheWay(this.scene.shops[0].name, order);
  }

  private send(orders: readonly string[]): Sent {
    return { orders, answers: orders.map((order) => this.payments.pay(this.scene.shops[0], order)) };
  }

  private sendAgain(orders: readonly string[]): Sent {
    return { orders, answers: orders.map((order) => this.payments.payUntilPaid(this.scene.shops[1], order)) };
  }
}
