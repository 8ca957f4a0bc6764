import { Test, type TestingModule } from '@nestjs/testing';
import { LockContendedError } from 'nestjs-replica-lock';
import {
  ReplicaLockTestingModule,
  TestLocks,
} from 'nestjs-replica-lock/testing';
import { OrdersService } from './orders.service.js';

describe('OrdersService', () => {
  let module: TestingModule;

  beforeEach(async () => {
    module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot({ waitTime: '5s' })],
      providers: [OrdersService],
    }).compile();
    await module.init();
  });

  afterEach(() => module.close());

  it('pays under the lock of the order', async () => {
    const orders = module.get(OrdersService);
    const locks = module.get(TestLocks);
    await orders.pay('7');
    expect(orders.paid).toEqual(['7']);
    locks.assertLocked('payment:7');
    locks.assertNothingHeld();
  });

  it('refuses while another process has the lock', async () => {
    const orders = module.get(OrdersService);
    const locks = module.get(TestLocks);
    await locks.holdElsewhere('payment:7');
    const refused = expect(orders.pay('7')).rejects.toBeInstanceOf(
      LockContendedError,
    );
    await locks.clock.advance('5s');
    await refused;
    expect(orders.paid).toEqual([]);
  });
});
