import { Injectable } from '@nestjs/common';
import { LockService } from '../../lib/index.js';

/** A service whose lock errors escape through handlers that have no lock. */
@Injectable()
export class Payments {
  constructor(private readonly locks: LockService) {}

  pay(id: string): Promise<string> {
    return this.locks.withLock(`order:${id}`, { waitTime: 0 }, async () => 'paid');
  }

  misuse(): Promise<string> {
    return this.locks.withLock('', async () => 'paid');
  }
}
