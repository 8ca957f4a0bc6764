import { setTimeout as sleep } from 'node:timers/promises';
import type { DemoState, LockState, SentinelState, ServerState, ShopState } from './model.js';
import { MASTER_NAME } from './redis.js';
import type { RedisServer } from './redis-server.js';
import type { Scene } from './scene.js';
import { LEASE } from './settings.js';
import type { Shop } from './shop.js';

/** ms between two looks at everything. */
const PERIOD = 300;

type ServerView = Pick<ServerState, 'role' | 'offset' | 'linkAge'>;
type SentinelView = Pick<SentinelState, 'master' | 'seesMasterDown'>;
type ShopView = Pick<ShopState, 'status' | 'reason' | 'quarantine'>;

const NO_SENTINEL: SentinelView = { master: undefined, seesMasterDown: false };
const NO_SHOP: ShopView = { status: undefined, reason: undefined, quarantine: 0 };

/** Looks at all processes again and again. */
export class Monitor {
  private readonly servers = new Map<RedisServer, ServerView>();
  private readonly sentinels = new Map<RedisServer, SentinelView>();
  private readonly shops = new Map<Shop, ShopView>();
  private readonly links = new Map<RedisServer, { readonly master: string; readonly since: number }>();
  private locks: readonly LockState[] = [];

  constructor(private readonly scene: Scene) {}

  /** Never ends. */
  async run(): Promise<never> {
    for (;;) {
      await this.look();
      await sleep(PERIOD, undefined, { ref: false });
    }
  }

  state(): DemoState {
    const { scene } = this;
    const { master } = scene.redis;
    const masterOffset =
      master.condition === 'dead' ? undefined : (this.servers.get(master)?.offset ?? undefined);
    const payments = [...scene.payments].map(({ shop, ...payment }) => ({
      ...payment,
      shop: shop.name,
      step: this.hasLock(shop, payment) ? ('working' as const) : ('waiting' as const),
    }));
    const shops = scene.shops.map((shop) => ({
      name: shop.name,
      url: shop.url,
      condition: shop.condition,
      ...(this.shops.get(shop) ?? NO_SHOP),
      held: this.locks.filter(({ holder }) => holder === shop.name).length,
      waiting: payments.filter((each) => each.shop === shop.name && each.step === 'waiting').length,
    }));
    return {
      at: scene.timeLine.now,
      phase: scene.phase,
      title: scene.title,
      lock: scene.lock,
      servers: scene.redis.servers.map((server) => {
        const view = this.servers.get(server) ?? { role: 'replica', offset: 0, linkAge: undefined };
        return {
          name: server.name,
          address: server.address,
          condition: server.condition,
          ...view,
          behind: masterOffset === undefined ? undefined : Math.max(0, masterOffset - view.offset),
        };
      }),
      sentinels: scene.redis.sentinels.map((sentinel) => ({
        name: sentinel.name,
        address: sentinel.address,
        ...(this.sentinels.get(sentinel) ?? NO_SENTINEL),
      })),
      shops,
      locks: this.locks,
      payments,
      bank: scene.bankState(),
      quarantine: Math.max(...shops.map(({ quarantine }) => quarantine)),
      quarantineLength: LEASE,
      results: {
        none: scene.result('none'),
        usual: scene.result('usual'),
        replica: scene.result('replica'),
      },
    };
  }

  private hasLock(shop: Shop, { order, lock }: { order: string; lock: string }): boolean {
    if (lock === 'none') return true;
    return this.locks.some((each) => each.order === order && each.holder === shop.name);
  }

  private async look(): Promise<void> {
    const { redis, shops } = this.scene;
    for (const server of redis.servers) {
      const last = this.servers.get(server);
      // A dead server is started again as a replica: until it answers, the page must not show two masters.
      if (server.condition === 'dead' && last !== undefined)
        this.servers.set(server, { ...last, role: 'replica', linkAge: undefined });
    }
    const running = redis.servers.filter(
      ({ condition }) => condition === 'running' || condition === 'cut-off',
    );
    await Promise.allSettled([
      ...running.map((server) => this.lookAtServer(server)),
      ...redis.sentinels.map((sentinel) => this.lookAtSentinel(sentinel)),
      ...shops.map((shop) => this.lookAtShop(shop)),
      this.lookAtLocks(),
    ]);
  }

  private async lookAtServer(server: RedisServer): Promise<void> {
    const info = await server.replication();
    const isMaster = info['role'] === 'master';
    const master = info['master_port'] ?? '';
    const { now } = this.scene.timeLine;
    if (isMaster || info['master_link_status'] !== 'up') this.links.delete(server);
    else if (this.links.get(server)?.master !== master) this.links.set(server, { master, since: now });
    const link = this.links.get(server);
    this.servers.set(server, {
      role: isMaster ? 'master' : 'replica',
      offset: Number(info[isMaster ? 'master_repl_offset' : 'slave_repl_offset'] ?? 0),
      linkAge: link === undefined ? undefined : now - link.since,
    });
  }

  private async lookAtSentinel(sentinel: RedisServer): Promise<void> {
    try {
      const record = (await sentinel.client.call('SENTINEL', 'MASTER', MASTER_NAME)) as string[];
      const field = (name: string): string => record[record.indexOf(name) + 1] ?? '';
      const named = this.scene.redis.servers.find(({ port }) => port === Number(field('port')));
      this.sentinels.set(sentinel, {
        master: named?.name,
        seesMasterDown: /[so]_down/.test(field('flags')),
      });
    } catch {
      this.sentinels.delete(sentinel);
    }
  }

  private async lookAtShop(shop: Shop): Promise<void> {
    try {
      const { status, masters } = await shop.health();
      this.shops.set(shop, {
        status,
        reason: masters.find(({ reason }) => reason !== undefined)?.reason,
        quarantine: Math.max(0, ...masters.map(({ quarantine }) => quarantine)),
      });
    } catch {
      this.shops.delete(shop);
    }
  }

  /** The locks of orders that the master has. */
  private async lookAtLocks(): Promise<void> {
    const { client } = this.scene.redis.master;
    try {
      const keys: string[] = [];
      let cursor = '0';
      do {
        const [next, page] = await client.scan(cursor, 'MATCH', '*order:*', 'COUNT', 500);
        cursor = next;
        keys.push(...page);
      } while (cursor !== '0');
      const found = await Promise.all(
        keys.map(async (key) => this.lockOf(key, await client.get(key), await client.pttl(key))),
      );
      this.locks = found.filter((lock) => lock !== undefined);
    } catch {
      this.locks = [];
    }
  }

  /**
   * Usual locks: `usual:order:<order>` with `<pid>:<random>`. Replica locks: `lock:order:<order>`
   * with `rl:<host>:<pid>:<random>:<number> <token>`. Undefined: released.
   */
  private lockOf(key: string, value: string | null, remainingTime: number): LockState | undefined {
    const order = key.replace(/^.*?order:/, '');
    const [, pid, token] = /^(?:rl:[^:]+:)?(\d+):\S+(?: (\d+))?$/.exec(value ?? '') ?? [];
    if (pid === undefined) return undefined;
    return {
      order,
      kind: token === undefined ? 'usual' : 'replica',
      holder: this.scene.shops.find((shop) => String(shop.pid) === pid)?.name,
      remainingTime,
      fencingToken: token === undefined ? undefined : Number(token),
    };
  }
}
