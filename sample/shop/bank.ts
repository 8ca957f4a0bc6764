import { Injectable } from '@nestjs/common';
import { ConfigService } from '@nestjs/config';

/** The payment provider, another company's service: each request for a charge is a charge. */
@Injectable()
export class Bank {
  private readonly url: string;
  private readonly shop: string;

  constructor(config: ConfigService) {
    this.url = config.getOrThrow<string>('BANK_URL');
    this.shop = config.get<string>('SHOP_NAME', 'shop');
  }

  /** The number of charges of this order. */
  async charges(orderId: string): Promise<number> {
    const response = await fetch(`${this.url}/charges/${encodeURIComponent(orderId)}`);
    return ((await response.json()) as { charges: number }).charges;
  }

  /** The bank refuses a charge if `fencingToken` is smaller than one that the bank has seen. */
  async charge(orderId: string, fencingToken?: number): Promise<void> {
    const response = await fetch(`${this.url}/charges/${encodeURIComponent(orderId)}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': this.shop },
      body: JSON.stringify({ fencingToken }),
    });
    if (!response.ok)
      throw new Error(`The bank refused to charge order ${orderId}: ${await response.text()}`);
  }
}
