import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { BullModule, getQueueToken, Processor, WorkerHost } from '@nestjs/bullmq';
import { Injectable, type INestApplicationContext, Module, type ModuleMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  CommandBus,
  CommandHandler,
  CqrsModule,
  EventBus,
  EventsHandler,
  type ICommandHandler,
  type IEventHandler,
  type IQueryHandler,
  QueryBus,
  QueryHandler,
} from '@nestjs/cqrs';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import { Cron, CronExpression, Interval, ScheduleModule } from '@nestjs/schedule';
import type { Job, Queue } from 'bullmq';
import {
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  type ReplicaLockModuleOptions,
} from '../../lib/index.js';
import { Gate } from '../decorators/apps.js';
import { until } from '../support/eventually.js';
import { startReplication, type Replication } from '../support/replication.js';

const contexts: INestApplicationContext[] = [];
afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()));
});

async function start(
  { imports = [], ...metadata }: ModuleMetadata,
  options: Partial<ReplicaLockModuleOptions> = {},
): Promise<INestApplicationContext> {
  @Module({
    ...metadata,
    imports: [
      ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 100, ...options }),
      ...imports,
    ],
  })
  class App {}
  const context = await NestFactory.createApplicationContext(App, { logger: false });
  contexts.push(context);
  return context;
}

let servers: Replication;
beforeAll(async () => {
  servers = await startReplication({ replicas: 1 });
});
afterAll(() => servers.dispose());

/** Two copies of an application that lock on the same Redis. */
function startCopies(metadata: ModuleMetadata): Promise<INestApplicationContext[]> {
  const options = { connection: servers.url, quarantine: 0 };
  return Promise.all([start(metadata, options), start(metadata, options)]);
}

describe('A scheduled job in two copies of an application', () => {
  it.each(['@Interval', '@Cron'])('runs in one copy at a time (%s)', async (kind) => {
    const key = `job ${kind}`;
    const gate = new Gate();
    let [running, most, runs] = [0, 0, 0];
    const tries = new Map<object, number>();
    class Base {
      protected async work(): Promise<void> {
        runs++;
        most = Math.max(most, ++running);
        await gate.passed;
        running--;
      }
      protected tried(): void {
        tries.set(this, (tries.get(this) ?? 0) + 1);
      }
    }
    @Injectable()
    class Intervals extends Base {
      @Interval(20)
      async tick(): Promise<void> {
        this.tried();
        await this.locked();
      }
      @ReplicaLocked(key, { waitTime: 0, onContended: 'skip' })
      async locked(): Promise<void> {
        await this.work();
      }
    }
    @Injectable()
    class Crons extends Base {
      @Cron(CronExpression.EVERY_SECOND)
      async tick(): Promise<void> {
        this.tried();
      }
      @Cron(CronExpression.EVERY_SECOND)
      @ReplicaLocked(key, { waitTime: 0, onContended: 'skip' })
      async locked(): Promise<void> {
        await this.work();
      }
    }
    await startCopies({
      imports: [ScheduleModule.forRoot()],
      providers: [kind === '@Cron' ? Crons : Intervals],
    });
    await until(() => tries.size === 2 && [...tries.values()].every((n) => n >= 2), {
      what: 'both copies have come round twice',
    });
    await until(() => runs === 1, { what: 'it has begun' });
    expect(most).toBe(1);
    gate.open();
    await until(() => runs > 2, { what: 'it runs again' });
    expect(most).toBe(1);
  });

  it('runs at most as often at once as its limit, over all copies', async () => {
    let [inside, most, runs] = [0, 0, 0];
    @Injectable()
    class Pages {
      @ReplicaLocked('render', { limit: 3, waitTime: '20s' })
      async render(): Promise<void> {
        runs++;
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setTimeout(resolve, 10));
        inside--;
      }
    }
    const copies = await startCopies({ providers: [Pages] });
    await Promise.all(copies.flatMap((copy) => Array.from({ length: 10 }, () => copy.get(Pages).render())));
    expect([runs, most]).toEqual([20, 3]);
  });

  it('is not run again during minHoldTime by the copy whose clock is late', async () => {
    const ran: string[] = [];
    @Injectable()
    class Report {
      @ReplicaLocked('report', { waitTime: 0, onContended: 'skip', minHoldTime: '400ms' })
      async run(by: string): Promise<string> {
        ran.push(by);
        return by;
      }
    }
    const [early, late] = await startCopies({ providers: [Report] });
    const begunAt = performance.now();
    expect(await early!.get(Report).run('early')).toBe('early');
    expect(early!.get(LockService).held).toEqual([]);
    expect(await late!.get(LockService).inspect('report')).toMatchObject({ key: 'report' });
    expect(await late!.get(Report).run('late')).toBeUndefined();
    await until(async () => (await late!.get(Report).run('next tick')) !== undefined, {
      what: 'the next tick runs',
    });
    expect(performance.now() - begunAt).toBeGreaterThanOrEqual(395);
    expect(ran).toEqual(['early', 'next tick']);
  });

  it('keeps the key for minHoldTime, also beyond the lease, and not at all after a longer run', async () => {
    const [one, two] = (await startCopies({})).map((each) => each.get(LockService));
    const options = { leaseTime: 200, minHoldTime: 900, waitTime: 0 };
    await (await one!.acquire('short', options)).release();
    expect((await two!.inspect('short'))?.remainingTime).toBeGreaterThan(300);
    expect(await two!.tryAcquire('short')).toBeNull();
    const lock = await one!.acquire('long', { minHoldTime: 50 });
    await until(() => Date.now() - lock.acquiredAt.getTime() > 60, { what: 'it was held for longer' });
    await lock.release();
    expect(await two!.isLocked('long')).toBe(false);
  });
});

describe('A listener of @nestjs/event-emitter', () => {
  it('is locked, with the key from the event', async () => {
    const seen: (string | undefined)[] = [];
    @Injectable()
    class Listener {
      constructor(private readonly locks: LockService) {}
      @OnEvent('order.paid')
      @ReplicaLocked('above:{0.id}')
      async above(_order: { id: number }): Promise<void> {
        seen.push(this.locks.current()?.key);
      }
      @ReplicaLocked('below:{0.id}')
      @OnEvent('order.paid')
      async below(_order: { id: number }): Promise<void> {
        seen.push(this.locks.current()?.key);
      }
    }
    const context = await start({ imports: [EventEmitterModule.forRoot()], providers: [Listener] });
    await context.get(EventEmitter2).emitAsync('order.paid', { id: 4 });
    expect(new Set(seen)).toEqual(new Set(['above:4', 'below:4']));
  });
});

describe('A processor of @nestjs/bullmq', () => {
  it('is locked in every copy, with the key from the job', async () => {
    let [running, most, done] = [0, 0, 0];
    @Processor('mails', { concurrency: 4 })
    class Mails extends WorkerHost {
      @ReplicaLocked('customer:{0.data.customer}', { waitTime: '10s' })
      async process(_job: Job<{ customer: number }>): Promise<void> {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        done++;
      }
    }
    const bull = {
      imports: [
        BullModule.forRoot({ connection: { host: '127.0.0.1', port: servers.master.port } }),
        BullModule.registerQueue({ name: 'mails' }),
      ],
      providers: [Mails],
    };
    const [copy] = await startCopies(bull);
    const queue = copy!.get<Queue>(getQueueToken('mails'));
    await queue.addBulk(Array.from({ length: 12 }, () => ({ name: 'mail', data: { customer: 7 } })));
    await until(() => done === 12, { what: 'all mails are sent' });
    expect(most).toBe(1);
  });
});

describe('A worker of @nestjs/bullmq at shutdown', () => {
  it('ends its job under the lock before the LockService closes', async () => {
    const gate = new Gate();
    const seen: unknown[] = [];
    @Processor('letters')
    class Letters extends WorkerHost {
      constructor(private readonly locks: LockService) {
        super();
      }

      @ReplicaLocked('letter:{0.data.id}')
      async process(_job: Job<{ id: number }>): Promise<void> {
        const held = this.locks.current();
        seen.push('begun');
        await gate.passed;
        seen.push(held?.held);
      }
    }
    const context = await start(
      {
        imports: [
          BullModule.forRoot({ connection: { host: '127.0.0.1', port: servers.master.port } }),
          BullModule.registerQueue({ name: 'letters' }),
        ],
        providers: [Letters],
      },
      { shutdownTimeout: '5s' },
    );
    await context.get<Queue>(getQueueToken('letters')).add('letter', { id: 7 });
    await until(() => seen.length === 1, { what: 'the job has begun' });
    const closed = context.close();
    gate.open();
    await closed;
    expect(seen).toEqual(['begun', true]);
  });
});

class Pay {
  constructor(readonly order: string) {}
}
class Paid {
  constructor(readonly order: string) {}
}
class FindPayment {
  constructor(readonly order: string) {}
}

describe('A handler of @nestjs/cqrs', () => {
  it('is locked, with the key from the command, query or event', async () => {
    const seen: unknown[] = [];
    @CommandHandler(Pay)
    class PayHandler implements ICommandHandler<Pay> {
      constructor(private readonly locks: LockService) {}
      @ReplicaLocked('order:{0.order}')
      async execute(_command: Pay): Promise<string | undefined> {
        return this.locks.current()?.key;
      }
    }
    @QueryHandler(FindPayment)
    class FindHandler implements IQueryHandler<FindPayment> {
      constructor(private readonly locks: LockService) {}
      @ReplicaLocked('order:{0.order}')
      async execute(_query: FindPayment): Promise<string | undefined> {
        return this.locks.current()?.key;
      }
    }
    @EventsHandler(Paid)
    class PaidHandler implements IEventHandler<Paid> {
      constructor(private readonly locks: LockService) {}
      @ReplicaLocked('order:{0.order}')
      async handle(_event: Paid): Promise<void> {
        seen.push(this.locks.current()?.key);
      }
    }
    const context = await start({
      imports: [CqrsModule.forRoot()],
      providers: [PayHandler, FindHandler, PaidHandler],
    });
    // The buses register their handlers when the application starts.
    expect(await context.get(CommandBus).execute(new Pay('9'))).toBe('order:9');
    expect(await context.get(QueryBus).execute(new FindPayment('9'))).toBe('order:9');
    context.get(EventBus).publish(new Paid('9'));
    await until(() => seen.length === 1, { what: 'the event was handled' });
    expect(seen).toEqual(['order:9']);
  });
});

describe('A command line application', () => {
  it('locks its work, and closes after the work has ended', async () => {
    @Injectable()
    class Import {
      constructor(private readonly locks: LockService) {}
      @ReplicaLocked('import:{0}')
      async run(_file: string, gate: Gate): Promise<boolean> {
        await gate.passed;
        return this.locks.current()?.held === true;
      }
    }
    const context = await start({ providers: [Import] }, { shutdownTimeout: '5s' });
    const gate = new Gate();
    const work = context.get(Import).run('a.csv', gate);
    await until(() => context.get(LockService).isLocked('import:a.csv'), { what: 'it has begun' });
    const closed = context.close();
    gate.open();
    expect(await work).toBe(true);
    await closed;
  });
});
