import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Subject } from 'rxjs';

/** What the bank did with a request for a charge. */
export interface Charge {
  readonly order: string;
  readonly shop: string;
  /** All charges of the order so far. */
  readonly charges: number;
  /** The fencing token was smaller than one that the bank had seen for this order. */
  readonly refused: boolean;
}

interface Account {
  charges: number;
  refused: number;
  token: number;
}

interface OnTheWay {
  readonly shop: string;
  readonly order: string;
  readonly arrive: () => void;
}

/**
 * The payment provider, another company's service: it answers after 10 to 40 ms, counts the charges
 * of each order, and charges as often as it is asked to.
 */
export class Bank {
  readonly charged = new Subject<Charge>();
  private readonly accounts = new Map<string, Account>();
  private readonly slow = new Map<string, Set<string>>();
  private onTheWay: OnTheWay[] = [];

  static async open(): Promise<Bank> {
    const bank = new Bank();
    const server = createServer((request, response) => void bank.answer(request, response));
    server.listen(0, '127.0.0.1').unref();
    await once(server, 'listening');
    return Object.assign(bank, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  }

  readonly url: string = '';

  /** From now on charges of these orders stay on their way from this shop to the bank. */
  holdBack(shop: string, orders: readonly string[]): void {
    this.slow.set(shop, new Set([...(this.slow.get(shop) ?? []), ...orders]));
  }

  /** The charges of these orders arrive, and later ones are not held back. */
  letThrough(shop: string, orders: readonly string[]): void {
    for (const order of orders) this.slow.get(shop)?.delete(order);
    const isDue = (each: OnTheWay): boolean => each.shop === shop && orders.includes(each.order);
    const due = this.onTheWay.filter(isDue);
    this.onTheWay = this.onTheWay.filter((each) => !isDue(each));
    for (const { arrive } of due) arrive();
  }

  /** Whether a charge of this order is on its way from this shop. */
  isOnTheWay(shop: string, order: string): boolean {
    return this.onTheWay.some((each) => each.shop === shop && each.order === order);
  }

  charges(order: string): number {
    return this.accounts.get(order)?.charges ?? 0;
  }

  /** How often this order was charged beyond the first time. */
  doubleCharges(order: string): number {
    return Math.max(0, this.charges(order) - 1);
  }

  refused(order: string): number {
    return this.accounts.get(order)?.refused ?? 0;
  }

  /** All accounts, the last charged first. */
  get orders(): readonly { readonly order: string; readonly charges: number; readonly refused: number }[] {
    return [...this.accounts]
      .toReversed()
      .map(([order, { charges, refused }]) => ({ order, charges, refused }));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const order = decodeURIComponent(request.url?.split('/')[2] ?? '');
    let body = '';
    for await (const chunk of request) body += String(chunk);
    await sleep(10 + Math.random() * 30);
    if (request.method === 'POST') {
      const { fencingToken = 0 } = JSON.parse(body || '{}') as { fencingToken?: number };
      const shop = request.headers['user-agent'] ?? '';
      if (this.slow.get(shop)?.has(order))
        await new Promise<void>((arrive) => this.onTheWay.push({ shop, order, arrive }));
      if (!this.charge(shop, order, fencingToken)) {
        response.writeHead(409).end('a later holder of the lock has been here');
        return;
      }
    }
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ charges: this.charges(order) }));
  }

  /** False if the token is smaller than one that the bank has seen. Without a token: 0 and true. */
  private charge(shop: string, order: string, fencingToken: number): boolean {
    const account = this.accounts.get(order) ?? { charges: 0, refused: 0, token: 0 };
    // Again at the end: the state shows the last ones.
    this.accounts.delete(order);
    this.accounts.set(order, account);
    const refused = fencingToken !== 0 && fencingToken < account.token;
    if (refused) account.refused += 1;
    else {
      account.charges += 1;
      account.token = Math.max(account.token, fencingToken);
    }
    this.charged.next({ order, shop, charges: account.charges, refused });
    return !refused;
  }
}
