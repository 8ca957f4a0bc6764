import { Injectable } from '@nestjs/common';
import { ConfigService } from '@nestjs/config';

/** The payment provider, a service of somebody else: it charges whoever is charged, as often as it is asked. */
@Injectable()
export class Bank {
  private readonly url: string;

  constructor(config: ConfigService) {
    this.url = config.getOrThrow<string>('BANK_URL');
  }

  /** How often this order was charged. */
  async charges(orderId: string): Promise<number> {
    const response = await fetch(`${this.url}/charges/${encodeURIComponent(orderId)}`);
    return ((await response.json()) as { charges: number }).charges;
  }

  /** `fencingToken`: the bank refuses a charge by somebody whose lock is older than one it has seen. */
  async charge(orderId: string, fencingToken?: number): Promise<void> {
    const response = await fetch(`${this.url}/charges/${encodeURIComponent(orderId)}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ fencingToken }),
    });
    if (!response.ok)
      throw new Error(`The bank refused to charge order ${orderId}: ${await response.text()}`);
  }
}
