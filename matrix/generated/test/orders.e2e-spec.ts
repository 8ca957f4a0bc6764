import { type INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { LockService } from 'nestjs-replica-lock';
import { TestLocks } from 'nestjs-replica-lock/testing';
import request from 'supertest';
import { type App } from 'supertest/types.js';
import { AppModule } from './../src/app.module.js';

describe('OrdersController (e2e)', () => {
  let app: INestApplication<App>;
  let locks: TestLocks;

  beforeEach(async () => {
    locks = new TestLocks();
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideProvider(LockService)
      .useValue(locks.service)
      .compile();
    app = module.createNestApplication();
    await app.init();
  });

  afterEach(() => app.close());

  it('pays once at a time', async () => {
    const other = await locks.holdElsewhere('order:7');
    await request(app.getHttpServer()).post('/orders/7/pay').expect(409);
    await other.release();
    await request(app.getHttpServer()).post('/orders/7/pay').expect(201);
    locks.assertLocked('order:7', 'payment:7');
  });

  it('answers 503 while Redis is down', async () => {
    locks.redisIsDown();
    await request(app.getHttpServer())
      .post('/orders/7/pay')
      .expect(503)
      .expect('Retry-After', /^\d+$/);
  });
});
