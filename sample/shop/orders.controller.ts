import { Controller, Get, Param, Post } from '@nestjs/common';
import { CurrentLock, type Lock, type LockHealth, LockService, ReplicaLocked } from 'nestjs-replica-lock';
import { type Payment, PaymentsService } from './payments.service.js';
import { UsualLock } from './usual-lock.js';

@Controller('orders')
export class OrdersController {
  constructor(
    private readonly payments: PaymentsService,
    private readonly usualLock: UsualLock,
    private readonly locks: LockService,
  ) {}

  /** One payment of an order at a time, over all copies of the shop. */
  @Post(':id/pay')
  @ReplicaLocked('order:{params.id}')
  async pay(@Param('id') id: string, @CurrentLock() lock: Lock): Promise<Payment> {
    const payment = await this.payments.pay(id, lock.fencingToken);
    return { ...payment, confirmedBy: lock.confirmedBy };
  }

  /** The same payment with the lock taken in the service. */
  @Post(':id/pay-in-service')
  payInService(@Param('id') id: string): Promise<Payment> {
    return this.payments.payInTurn(id);
  }

  /** The same payment without a lock: concurrent requests may charge the order twice. */
  @Post(':id/pay-unlocked')
  payUnlocked(@Param('id') id: string): Promise<Payment> {
    return this.payments.pay(id);
  }

  /** The same payment with the usual `SET NX PX` lock, for comparison. */
  @Post(':id/pay-usual')
  async payUsual(@Param('id') id: string): Promise<Payment> {
    const { result, lockHeld } = await this.usualLock.run(`usual:order:${id}`, () => this.payments.pay(id));
    return { ...result, lockHeld };
  }

  @Get('ready')
  ready(): string {
    return 'ready';
  }

  /** What this copy of the shop knows about Redis and its locks. */
  @Get('locks')
  health(): LockHealth {
    return this.locks.health();
  }
}
