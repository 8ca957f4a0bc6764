import { type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LockKind } from './model.js';
import { freePort, type Processes } from './processes.js';

const PROGRAM = fileURLToPath(new URL('../shop/main.js', import.meta.url));

const ROUTES = { none: 'pay-unlocked', usual: 'pay-usual', replica: 'pay' } as const satisfies Record<
  LockKind,
  string
>;

/** What a shop answered to a payment. */
export interface Answer {
  readonly order: string;
  /** 201: paid, now or before. 409, 503: refused, nothing is charged. */
  readonly status: number;
  /** For 201: whether this payment charged the order. */
  readonly charged: boolean;
  /** For 201: whether the lock was held until the end. */
  readonly lockHeld: boolean;
  readonly confirmedBy: number | undefined;
  /** ms after which the shop advises to ask again. */
  readonly retryAfter: number | undefined;
}

/** The parts of `LockService.health()` that the demonstration shows. */
export interface ShopHealth {
  readonly status: 'up' | 'degraded' | 'down';
  readonly masters: readonly { readonly reason?: string; readonly quarantine: number }[];
}

/** A copy of the shop, as a process. */
export class Shop {
  condition: 'running' | 'stopped' = 'running';

  private constructor(
    readonly name: string,
    readonly url: string,
    private readonly process: ChildProcess,
  ) {}

  static async start(name: string, processes: Processes, env: NodeJS.ProcessEnv): Promise<Shop> {
    const port = await freePort();
    const own = { PORT: String(port), SHOP_NAME: name, NO_COLOR: '1', ...env };
    const child = processes.start(process.execPath, [PROGRAM], own);
    return new Shop(name, `http://127.0.0.1:${port}`, child);
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** SIGSTOP. */
  stop(): void {
    this.process.kill('SIGSTOP');
    this.condition = 'stopped';
  }

  /** SIGCONT. */
  continue(): void {
    this.process.kill('SIGCONT');
    this.condition = 'running';
  }

  async pay(order: string, lock: LockKind): Promise<Answer> {
    const url = `${this.url}/orders/${order}/${ROUTES[lock]}`;
    const response = await fetch(url, { method: 'POST' }).catch((error: unknown) => {
      throw new Error(`${this.name} does not answer a payment at ${url}`, { cause: error });
    });
    const body = (await response.json()) as {
      status?: string;
      lockHeld?: boolean;
      confirmedBy?: number;
    };
    const retryAfter = response.headers.get('retry-after');
    return {
      order,
      status: response.status,
      charged: body.status === 'charged',
      lockHeld: body.lockHeld ?? response.status === 201,
      confirmedBy: body.confirmedBy,
      retryAfter: retryAfter === null ? undefined : Number(retryAfter) * 1_000,
    };
  }

  /** Rejects if the shop does not answer within 1 s. */
  async health(): Promise<ShopHealth> {
    const response = await fetch(`${this.url}/orders/locks`, { signal: AbortSignal.timeout(1_000) });
    return (await response.json()) as ShopHealth;
  }
}
