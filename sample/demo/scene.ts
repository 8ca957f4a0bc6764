import { Bank } from './bank.js';
import type { BankState, DemoState, LockKind, LockResult } from './model.js';
import { type Processes, until } from './processes.js';
import { MASTER_NAME, RedisServers } from './redis.js';
import type { RedisServer } from './redis-server.js';
import { LEASE, WAIT } from './settings.js';
import { type Answer, Shop } from './shop.js';
import { TimeLine } from './time-line.js';

/** A payment that is not answered yet. */
export interface OpenPayment {
  readonly id: number;
  readonly order: string;
  readonly shop: Shop;
  readonly lock: LockKind;
  readonly since: number;
}

/** The orders that the state shows. */
const SHOWN = 120;

/** Everything that the demonstration starts: Redis, the Sentinels, the bank, the shops. */
export class Scene {
  phase: DemoState['phase'] = 'starting';
  title = 'Starting';
  /** The lock of the payments that are sent now. */
  lock: LockKind = 'none';
  readonly payments = new Set<OpenPayment>();
  private count = 0;
  /** The lock under which an order was paid first. */
  private readonly locks = new Map<string, LockKind>();
  private readonly counts = new Map<LockKind, { payments: number; refused: number; kills: number }>();

  private constructor(
    readonly timeLine: TimeLine,
    readonly redis: RedisServers,
    readonly bank: Bank,
    readonly shops: readonly [Shop, Shop],
  ) {}

  static async start(processes: Processes): Promise<Scene> {
    const timeLine = new TimeLine();
    const redis = await RedisServers.start(processes);
    await redis.startSentinels(processes);
    const bank = await Bank.open();
    const env = {
      REDIS_SENTINELS: redis.sentinels.map(({ address }) => address).join(','),
      REDIS_MASTER: MASTER_NAME,
      BANK_URL: bank.url,
      LOCK_LEASE: String(LEASE),
      LOCK_WAIT: String(WAIT),
      NODE_ENV: 'production',
    };
    const shops = await Promise.all([
      Shop.start('shop-1', processes, env),
      Shop.start('shop-2', processes, env),
    ]);
    await until('both copies of the shop answer', async () => {
      await Promise.all(shops.map((shop) => shop.health()));
      return true;
    });
    await redis.untilWatched();
    return new Scene(timeLine, redis, bank, shops);
  }

  /** Sends a payment and follows it until the shop answers. */
  async pay(shop: Shop, order: string, lock: LockKind = this.lock): Promise<Answer> {
    const payment = { id: ++this.count, order, shop, lock, since: this.timeLine.now };
    if (!this.locks.has(order)) this.locks.set(order, lock);
    this.countsOf(lock).payments += 1;
    this.payments.add(payment);
    try {
      const answer = await shop.pay(order, lock);
      if (answer.status >= 400) this.countsOf(lock).refused += 1;
      return answer;
    } finally {
      this.payments.delete(payment);
    }
  }

  /** kill -9, under payments with this lock. Returns the dead server. */
  killMaster(lock: LockKind = this.lock): Promise<RedisServer> {
    this.countsOf(lock).kills += 1;
    return this.redis.killMaster();
  }

  bankState(): BankState {
    const { orders } = this.bank;
    return {
      charges: sum(orders, ({ charges }) => charges),
      doubleCharges: sum(orders, doubles),
      refused: sum(orders, ({ refused }) => refused),
      orders: orders
        .slice(0, SHOWN)
        .map(({ order, charges }) => ({ order, charges, lock: this.lockOf(order) })),
    };
  }

  result(lock: LockKind): LockResult {
    const orders = this.bank.orders.filter(({ order }) => this.lockOf(order) === lock);
    return {
      ...this.countsOf(lock),
      orders: orders.filter(({ charges }) => charges > 0).length,
      doubleCharges: sum(orders, doubles),
    };
  }

  private lockOf(order: string): LockKind {
    return this.locks.get(order) ?? 'none';
  }

  private countsOf(lock: LockKind): { payments: number; refused: number; kills: number } {
    const counts = this.counts.get(lock) ?? { payments: 0, refused: 0, kills: 0 };
    this.counts.set(lock, counts);
    return counts;
  }
}

function sum<T>(all: readonly T[], of: (each: T) => number): number {
  return all.reduce((total, each) => total + of(each), 0);
}

function doubles({ charges }: { readonly charges: number }): number {
  return Math.max(0, charges - 1);
}
