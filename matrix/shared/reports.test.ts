import 'reflect-metadata';
import { Test } from '@nestjs/testing';
import { LockContendedError, LockService, ReplicaLockModule } from 'nestjs-replica-lock';
import { ReplicaLockHealthIndicator } from 'nestjs-replica-lock/health';
import { ReplicaLockTestingModule, TestLocks } from 'nestjs-replica-lock/testing';
import { OptionalModule } from '../src/optional.js';
import { Reports, ReportsController } from '../src/reports.js';

describe('The test kit in a consumer', () => {
  it('locks in memory', async () => {
    const module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot(), OptionalModule],
      controllers: [ReportsController],
      providers: [Reports],
    }).compile();
    await module.init();
    const locks = module.get(TestLocks);
    expect(await module.get(Reports).write('a')).toBe('report:a');
    locks.assertLocked('report:a');
    await locks.holdElsewhere('report:a');
    const refused = expect(module.get(Reports).write('a')).rejects.toBeInstanceOf(LockContendedError);
    await locks.clock.advance('10s');
    await refused;
    locks.redisIsDown();
    const health = module.get(ReplicaLockHealthIndicator).isHealthy('locks');
    expect(health.locks.status).toBe('down');
    await module.close();
  });

  it('takes the place of the real service', async () => {
    const locks = new TestLocks();
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'redis://nowhere.test:1' })],
      providers: [Reports],
    })
      .overrideProvider(LockService)
      .useValue(locks.service)
      .compile();
    await module.init();
    await module.get(Reports).write('b');
    locks.assertLocked('report:b');
    await module.close();
  });
});
