import { Controller, Param, Post } from '@nestjs/common';
import { CurrentLock, type Lock, ReplicaLocked } from 'nestjs-replica-lock';
import { OrdersService } from './orders.service.js';

@Controller('orders')
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  @Post(':id/pay')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async pay(
    @Param('id') id: string,
    @CurrentLock() lock: Lock,
  ): Promise<{ paid: string; confirmedBy: number }> {
    await this.orders.pay(id);
    return { paid: id, confirmedBy: lock.confirmedBy };
  }
}
