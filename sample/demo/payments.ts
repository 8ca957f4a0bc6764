import { setTimeout as sleep } from 'node:timers/promises';
import type { LockKind } from './model.js';
import type { Scene } from './scene.js';
import type { Answer, Shop } from './shop.js';

/** ms between two orders of the customers. */
const CUSTOMER_PERIOD = 250;

/** A client asks again after this, or earlier if the shop's Retry-After is shorter. */
const LONGEST_PAUSE = 1_000;

/** The payments of one round, counted. */
export class Payments {
  requests = 0;
  refused = 0;

  constructor(
    private readonly scene: Scene,
    readonly lock: LockKind,
    private readonly prefix: string,
  ) {}

  /** Names of this many orders of the round. */
  names(what: string, count: number): readonly string[] {
    return Array.from({ length: count }, (_, i) => `${this.prefix}-${what}-${i + 1}`);
  }

  async pay(shop: Shop, order: string): Promise<Answer> {
    this.requests += 1;
    const answer = await this.scene.pay(shop, order, this.lock);
    if (answer.status === 409 || answer.status === 503) this.refused += 1;
    return answer;
  }

  /** Pays as a client does that was told to try again later. */
  async payUntilPaid(shop: Shop, order: string): Promise<Answer> {
    for (;;) {
      const answer = await this.pay(shop, order);
      if (answer.status === 201) return answer;
      await sleep(Math.min(answer.retryAfter ?? LONGEST_PAUSE, LONGEST_PAUSE));
    }
  }

  /** Sends `times` payments of each order at once, to both shops in turn. */
  async race(orders: readonly string[], times: number): Promise<void> {
    const { shops } = this.scene;
    await Promise.all(
      Array.from({ length: times }, (_, turn) =>
        orders.map((order, i) => this.pay(shops[(turn + i) % 2]!, order)),
      ).flat(),
    );
  }

  /** The number of charges beyond the first, over these orders. */
  doublesOf(orders: readonly string[]): number {
    return orders.reduce((sum, order) => sum + this.scene.bank.doubleCharges(order), 0);
  }
}

/** Customers who come all the time: a new order every 250 ms, at the shops that run in turn. */
export class Customers {
  /** The instants at which a customer's payment was answered: it had its lock. */
  readonly grants: number[] = [];
  readonly orders: string[] = [];
  readonly startedAt: number;
  private readonly answers: Promise<void>[] = [];
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly scene: Scene,
    private readonly payments: Payments,
  ) {
    this.startedAt = scene.timeLine.now;
    this.timer = setInterval(() => this.answers.push(this.come()), CUSTOMER_PERIOD);
  }

  /** No new customers. Resolves when all are answered. */
  async leave(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.answers);
  }

  private async come(): Promise<void> {
    const { shops, timeLine } = this.scene;
    const number = this.answers.length + 1;
    const running = shops.filter(({ condition }) => condition === 'running');
    const [order = ''] = this.payments.names(`customer-${number}`, 1);
    this.orders.push(order);
    const { status } = await this.payments.pay(running[number % running.length]!, order);
    if (status === 201) this.grants.push(timeLine.now);
  }
}
