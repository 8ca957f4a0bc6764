import { Injectable } from '@nestjs/common';
import { ReplicaLocked } from 'nestjs-replica-lock';

@Injectable()
export class OrdersService {
  readonly paid: string[] = [];

  @ReplicaLocked('payment:{0}')
  async pay(id: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.paid.push(id);
  }
}
