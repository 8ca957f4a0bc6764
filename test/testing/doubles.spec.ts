import 'reflect-metadata';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Injectable, Param, Post, type INestApplication } from '@nestjs/common';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import type { Observable } from 'rxjs';
import {
  CurrentLock,
  type Lock,
  LockService,
  ReplicaLocked,
  ReplicaLockInterceptor,
  ReplicaLockModule,
} from '../../lib/index.js';
import { ReplicaLockTestingModule } from '../../lib/testing/index.js';

@Injectable()
class Reports {
  constructor(readonly locks: LockService) {}

  byService(): Promise<string> {
    return this.locks.withLock('report', async () => 'written');
  }

  @ReplicaLocked('report:{0}')
  async byDecorator(_id: string): Promise<string> {
    return 'written';
  }
}

@Controller()
class Orders {
  @Post('orders/:id/pay')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async pay(@Param('id') id: string): Promise<object> {
    return { id };
  }

  @Post('orders/:id/ship')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async ship(@Param('id') _id: string, @CurrentLock() lock?: Lock): Promise<string> {
    return lock!.key;
  }
}

const UNREACHABLE = 'redis://127.0.0.1:1';

describe('In place of LockService', () => {
  let app: INestApplication | undefined;
  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  async function start(double: unknown): Promise<string> {
    const builder: TestingModuleBuilder = Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: UNREACHABLE })],
      providers: [Reports],
      controllers: [Orders],
    });
    const module = await builder.overrideProvider(LockService).useValue(double).compile();
    app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    await app.listen(0, '127.0.0.1');
    return app.getUrl();
  }

  it('a plain object with withLock serves services, provider methods and handlers', async () => {
    const asked: unknown[] = [];
    const url = await start({
      async withLock(key: unknown, ...rest: ((lock: object) => unknown)[]) {
        asked.push(key);
        return rest.at(-1)!({ key });
      },
    });
    expect(await app!.get(Reports).byService()).toBe('written');
    expect(await app!.get(Reports).byDecorator('7')).toBe('written');
    expect((await fetch(`${url}/orders/7/pay`, { method: 'POST' })).status).toBe(201);
    expect(asked).toEqual(['report', 'report:7', 'order:7']);
  });

  it('a function that runs no work is refused with one sentence, which names TestLocks', async () => {
    const url = await start({ withLock: jest.fn() });
    await expect(app!.get(Reports).byDecorator('7')).rejects.toThrow(
      /^The object in place of LockService did not run the work of lock 'report:7': .*TestLocks/,
    );
    expect((await fetch(`${url}/orders/7/pay`, { method: 'POST' })).status).toBe(500);
  });
});

describe('Without Redis', () => {
  /** The interceptor is replaced by one that only passes on. */
  async function startWithoutInterceptor(): Promise<INestApplication> {
    const module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot()],
      controllers: [Orders],
    })
      .overrideInterceptor(ReplicaLockInterceptor)
      .useValue({ intercept: (_: unknown, next: { handle(): Observable<unknown> }) => next.handle() })
      .compile();
    const app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    await app.listen(0, '127.0.0.1');
    return app;
  }

  it('a handler can be called directly, and an interceptor that only passes on adds no second lock', async () => {
    const app = await startWithoutInterceptor();
    expect(await app.get(Orders).pay('7')).toEqual({ id: '7' });
    expect((await fetch(`${await app.getUrl()}/orders/7/pay`, { method: 'POST' })).status).toBe(201);
    await app.close();
  });

  it('a handler that is called directly, or without its interceptor, gets its @CurrentLock', async () => {
    const app = await startWithoutInterceptor();
    const orders = app.get(Orders);
    expect(await orders.ship('7')).toBe('order:7');
    expect(await orders.ship('7', { key: 'of the test' } as Lock)).toBe('of the test');
    const response = await fetch(`${await app.getUrl()}/orders/8/ship`, { method: 'POST' });
    expect([response.status, await response.text()]).toEqual([201, 'order:8']);
    await app.close();
  });

  it('an object that a test made by hand is refused with a hint at TestLocks', async () => {
    await expect(new Orders().pay('7')).rejects.toThrow(/Orders\.pay .*TestLocks\(\)\.provideTo\(object\)/);
  });
});

describe('A server that began to listen inside withLock', () => {
  it('refuses a request for the same key, and does not join the request to the lock', async () => {
    const module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot()],
      controllers: [Orders],
    }).compile();
    const app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    await app.init();
    const pay = async (id: string): Promise<number> =>
      (await fetch(`${await app.getUrl()}/orders/${id}/pay`, { method: 'POST' })).status;
    await app.get(LockService).withLock('order:1', async () => {
      await app.listen(0, '127.0.0.1');
      expect([await pay('1'), await pay('2')]).toEqual([409, 201]);
    });
    expect(await pay('1')).toBe(201);
    await app.close();
  });
});
