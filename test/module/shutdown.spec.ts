import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import { Controller, Post } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { adapters, Gate } from '../decorators/apps.js';
import { until } from '../support/eventually.js';
import { startReplication } from '../support/replication.js';

describe.each(adapters)('An application on %s that is set up as the documentation says', (adapter) => {
  it('answers the requests that its shutdown waits for, and then ends', async () => {
    const gate = new Gate();
    let hasBegun = false;
    @Controller('payments')
    class Payments {
      @Post()
      @ReplicaLocked('payment')
      async pay(): Promise<string> {
        hasBegun = true;
        await gate.passed;
        return 'paid';
      }
    }
    await using servers = await startReplication({ replicas: 1 });
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: servers.url, quarantine: 0 })],
      controllers: [Payments],
    }).compile();
    const options = { logger: false } as const;
    // With `forceCloseConnections: true` the connection is cut when the lock is released, before
    // the answer.
    const app =
      adapter === 'express'
        ? module.createNestApplication(options)
        : module.createNestApplication(new FastifyAdapter() as never, options);
    await app.listen(0, '127.0.0.1');
    const answer = fetch(`${await app.getUrl()}/payments`, {
      method: 'POST',
      headers: { connection: 'close' },
    });
    // The key exists before the replicas have confirmed the write, so before the handler is called.
    await until(() => hasBegun, { what: 'the payment is under way' });
    const closed = app.close();
    gate.open();
    const response = await answer;
    expect([response.status, await response.text()]).toEqual([201, 'paid']);
    await closed;
  });
});
