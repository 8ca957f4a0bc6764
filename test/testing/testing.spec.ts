import 'reflect-metadata';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, type INestApplication, Injectable, Module, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  getLockServiceToken,
  InjectLockService,
  LockContendedError,
  LockLostError,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
} from '../../lib/index.js';
import { getTestLocksToken, ReplicaLockTestingModule, TestLocks } from '../../lib/testing/index.js';

@Injectable()
class Reports {
  constructor(private readonly locks: LockService) {}

  @ReplicaLocked('report:{0}', { waitTime: '5s' })
  async write(_name: string): Promise<string> {
    return 'written';
  }

  async writeAll(work: () => Promise<void>): Promise<void> {
    await this.locks.withLock('reports', { waitTime: 0, leaseTime: '9s' }, work);
  }
}

@Controller()
class ReportsController {
  constructor(private readonly reports: Reports) {}

  @Post('reports')
  @ReplicaLocked('all', { waitTime: 0 })
  async writeAll(): Promise<string> {
    return this.reports.write('all');
  }
}

@Module({
  imports: [ReplicaLockModule.forRoot({ connection: 'redis://nowhere.test:1' })],
  controllers: [ReportsController],
  providers: [Reports],
})
class AppModule {}

const apps: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
});

async function startUnit(): Promise<{ locks: TestLocks; reports: Reports }> {
  const module = await Test.createTestingModule({
    imports: [ReplicaLockTestingModule.forRoot()],
    providers: [Reports],
  })
    .setLogger({ log() {}, warn() {}, error() {} })
    .compile();
  apps.push(await module.init());
  return { locks: module.get(TestLocks), reports: module.get(Reports) };
}

describe('ReplicaLockTestingModule', () => {
  it('locks in memory, and records the locked keys', async () => {
    const { locks, reports } = await startUnit();
    locks.assertNotLocked();
    await reports.write('a');
    await reports.write('b');
    expect(locks.locked).toEqual(['report:a', 'report:b']);
    expect(locks.history.map(({ type }) => type)).toEqual(['acquired', 'released', 'acquired', 'released']);
    locks.assertLocked('report:a', 'report:b');
    locks.assertNothingHeld();
    locks.assertNotLocked('report:c');
    expect(() => locks.assertNotLocked('report:a')).toThrow("The application locked 'report:a'.");
    expect(() => locks.assertLocked('report:c')).toThrow(
      "The application never locked 'report:c'. So far it has locked 'report:a', 'report:b'.",
    );
    await reports.writeAll(async () => {
      expect(() => locks.assertNothingHeld()).toThrow("still holds 'reports'");
    });
    await locks.reset();
    expect(locks.locked).toEqual([]);
  });

  it('holds a key as another process, and advances the clock', async () => {
    const { locks, reports } = await startUnit();
    await locks.holdElsewhere('report:a');
    const waiting = reports.write('a');
    const refused = expect(waiting).rejects.toBeInstanceOf(LockContendedError);
    await locks.clock.advance('5s');
    await refused;
    await locks.reset();
    const other = await locks.holdElsewhere('report:a', { renew: false, leaseTime: '2s' });
    const next = reports.write('a');
    await locks.clock.advance('2500ms');
    expect(await next).toBe('written');
    expect(other.held).toBe(false);
    locks.assertLocked('report:a');
  });

  it('holds parts of a key with a limit as other processes, and loses only the part of the application', async () => {
    const { locks } = await startUnit();
    const others = [
      await locks.holdElsewhere('k', { limit: 3 }),
      await locks.holdElsewhere('k', { limit: 3 }),
    ];
    const lock = await locks.service.acquire('k', { limit: 3 });
    await expect(locks.holdElsewhere('k', { limit: 3 })).rejects.toMatchObject({ holders: 3 });
    locks.lose('k');
    expect([lock.held, ...others.map(({ held }) => held)]).toEqual([false, true, true]);
    expect(await locks.service.inspectAll('k')).toHaveLength(2);
    await expect(locks.service.acquire('k', { waitTime: 0 })).rejects.toBeInstanceOf(LockContendedError);
    await locks.reset();
    await (await locks.service.acquire('k')).release();
    locks.assertNothingHeld();
  });

  it('renews while the clock advances, and loses a lock on request', async () => {
    const { locks, reports } = await startUnit();
    await expect(
      reports.writeAll(async () => {
        await locks.clock.advance('1m');
        const lock = locks.service.current('reports')!;
        expect(lock.held).toBe(true);
        locks.lose('reports');
        expect(lock.signal.reason).toBeInstanceOf(LockLostError);
        await (await locks.holdElsewhere('reports')).release();
      }),
    ).rejects.toBeInstanceOf(LockLostError);
    expect(() => locks.lose('reports')).toThrow(/does not hold it/);
  });

  it('simulates replicas that do not answer, and a Redis that is down', async () => {
    const { locks, reports } = await startUnit();
    locks.replicasDoNotAnswer();
    const refused = expect(reports.writeAll(async () => {})).rejects.toMatchObject({
      code: 'LOCK_NOT_REPLICATED',
    });
    await locks.clock.advance('1s');
    await refused;
    expect(locks.service.health().status).toBe('degraded');
    const recovering = reports.writeAll(async () => {});
    locks.recover();
    await recovering;
    locks.redisIsDown();
    await expect(reports.writeAll(async () => {})).rejects.toMatchObject({ code: 'LOCK_UNAVAILABLE' });
    await expect(locks.service.inspect('reports')).rejects.toMatchObject({ code: 'LOCK_UNAVAILABLE' });
    await expect(locks.service.forceRelease('reports')).rejects.toMatchObject({ code: 'LOCK_UNAVAILABLE' });
    const list = locks.service.list()[Symbol.asyncIterator]();
    await expect(list.next()).rejects.toMatchObject({ code: 'LOCK_UNAVAILABLE' });
    expect(locks.service.health().status).toBe('down');
    locks.recover();
    await reports.writeAll(async () => {});
  });

  it.each(['redisIsDown', 'replicasDoNotAnswer'] as const)(
    'lets held locks live until their lease ends (%s)',
    async (fault) => {
      const { locks, reports } = await startUnit();
      await expect(
        reports.writeAll(async () => {
          locks[fault]();
          await locks.clock.advance('8s');
          const lock = locks.service.current('reports')!;
          expect(lock.held).toBe(true);
          locks.recover();
          await locks.clock.advance('8s');
          expect(lock.held).toBe(true);
          locks[fault]();
          await locks.clock.advance('9s');
          expect(lock.held).toBe(false);
        }),
      ).rejects.toBeInstanceOf(LockLostError);
    },
  );

  it('has named instances', async () => {
    @Injectable()
    class Named {
      constructor(@InjectLockService('payments') readonly locks: LockService) {}
      @ReplicaLocked('pay', { name: 'payments' })
      async pay(): Promise<void> {}
    }
    const module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot(), ReplicaLockTestingModule.forRoot({ name: 'payments' })],
      providers: [Named],
    }).compile();
    apps.push(await module.init());
    await module.get(Named).pay();
    module.get<TestLocks>(getTestLocksToken('payments')).assertLocked('pay');
    module.get(TestLocks).assertNotLocked();
    expect(module.get(getLockServiceToken('payments'))).toBe(module.get(Named).locks);
  });
});

describe('TestLocks', () => {
  it('replaces the LockService of an application', async () => {
    const locks = new TestLocks();
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideProvider(LockService)
      .useValue(locks.service)
      .compile();
    const app: INestApplication = module.createNestApplication({
      logger: false,
      forceCloseConnections: true,
    });
    apps.push(app);
    await app.listen(0, '127.0.0.1');
    const post = async (): Promise<number> =>
      (await fetch(`${await app.getUrl()}/reports`, { method: 'POST' })).status;
    expect(await post()).toBe(201);
    expect(locks.locked).toEqual(['all', 'report:all']);
    const other = await locks.holdElsewhere('all');
    expect(await post()).toBe(409);
    await other.release();
    locks.redisIsDown();
    expect(await post()).toBe(503);
  });

  it('serves an object that Nest did not create', async () => {
    const locks = new TestLocks();
    apps.push(locks.service);
    const reports = locks.provideTo(new Reports(locks.service));
    expect(await reports.write('x')).toBe('written');
    locks.assertLocked('report:x');
  });

  it('reports a wrong option with the same error as the module', () => {
    expect(() => new TestLocks({ leaseTime: 1 })).toThrow(/Option 'leaseTime' is 1/);
  });
});
