import { Injectable } from '@nestjs/common';
import { LockService } from 'nestjs-replica-lock';
import { Bank } from './bank.js';

export interface Payment {
  readonly order: string;
  readonly status: 'charged' | 'already paid';
  /** The number of replicas that confirmed the lock. */
  readonly confirmedBy?: number;
  /** Whether the usual lock was still there at the end. A replica lock that was lost is an error. */
  readonly lockHeld?: boolean;
}

@Injectable()
export class PaymentsService {
  constructor(
    private readonly bank: Bank,
    private readonly locks: LockService,
  ) {}

  /** Checks, and charges if need be. Without a lock, another request may run between both steps. */
  async pay(order: string, fencingToken?: number): Promise<Payment> {
    if ((await this.bank.charges(order)) > 0) return { order, status: 'already paid' };
    await this.bank.charge(order, fencingToken);
    return { order, status: 'charged' };
  }

  /** The same payment with the lock taken in code, and its fencing token given to the bank. */
  payInTurn(order: string): Promise<Payment> {
    return this.locks.withLock(`order:${order}`, async (lock) => {
      const payment = await this.pay(order, lock.fencingToken);
      return { ...payment, confirmedBy: lock.confirmedBy };
    });
  }
}
