import 'reflect-metadata';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  Get,
  Injectable,
  Next,
  Param,
  ParseIntPipe,
  Post,
  Res,
  SetMetadata,
  type ExecutionContext,
  type INestApplication,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { Observable, of } from 'rxjs';
import {
  CurrentLock,
  LeaderOnly,
  type Lock,
  LockContendedError,
  LockKeyError,
  LockOptionsError,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  RunOnce,
} from '../../lib/index.js';
import { giveService } from '../../lib/decorators/instance-services.js';
import { TestLocks } from '../../lib/testing/index.js';
import { until } from '../support/eventually.js';
import { Gates, startApp } from './apps.js';

const runs: string[] = [];
const gates = new Gates();

@Injectable()
class Jobs {
  constructor(private readonly locks: LockService) {}

  @RunOnce('invoice:{0.id}', { keepFor: '1h' })
  async bill(order: { id: string }): Promise<{ invoice: string; key: string | undefined }> {
    runs.push(order.id);
    return { invoice: `I-${order.id}`, key: this.locks.current()?.key };
  }

  @RunOnce((tick: number) => `report:${tick}`, { keepFor: '1h', waitTime: 0 })
  async report(tick: number): Promise<void> {
    runs.push(`report ${tick}`);
    await gates.of('report').passed;
  }

  @RunOnce('fails', { keepFor: '1h' })
  async fails(): Promise<string> {
    runs.push('fails');
    if (runs.length === 1) throw new Error('once more');
    return 'done';
  }

  @RunOnce('lock:{0}', { keepFor: '1h' })
  async withCurrentLock(_id: number, @CurrentLock() lock?: Lock): Promise<string | undefined> {
    return lock?.key;
  }

  @SetMetadata('mine', 1)
  @ReplicaLocked('outer:{0}')
  @RunOnce('inner:{0}', { keepFor: '1h' })
  async both(_id: number): Promise<readonly boolean[]> {
    return ['outer:1', 'inner:1'].map((key) => this.locks.current(key) !== undefined);
  }
}

@Controller()
class Orders {
  @Post('orders/:id/pay')
  @RunOnce('pay:{params.id}', { keepFor: '1h', waitTime: 0 })
  async pay(@Param('id') id: string, @CurrentLock() lock: Lock): Promise<object> {
    runs.push(`pay ${id}`);
    await gates.of(id).passed;
    return { paid: id, under: lock.key };
  }

  @Get('numbers/:n')
  @RunOnce('number:{0}', { keepFor: '1h' })
  async number(@Param('n', ParseIntPipe) n: number): Promise<{ next: number }> {
    runs.push(`number ${n}`);
    return { next: n + 1 };
  }

  @Post('by-body')
  @RunOnce(
    (context: ExecutionContext) =>
      `body:${context.switchToHttp().getRequest<{ body: { id: string } }>().body.id}`,
    {
      keepFor: '1h',
    },
  )
  async byBody(@Body() body: { id: string; n: number }): Promise<number> {
    runs.push(`body ${body.id}`);
    return body.n;
  }

  @Get('large')
  @RunOnce('large', { keepFor: '1h' })
  async large(): Promise<string> {
    return 'x'.repeat(70_000);
  }
}

beforeEach(() => {
  runs.length = 0;
});

describe('@RunOnce on a provider’s method', () => {
  let app: INestApplication | undefined;
  let jobs: Jobs;

  beforeEach(async () => {
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
      providers: [Jobs],
    }).compile();
    app = module.createNestApplication({ logger: false });
    await app.init();
    jobs = app.get(Jobs);
  });
  afterEach(async () => {
    gates.openAll();
    await app?.close();
  });

  it('runs the method once for each key, under its lock, and resolves with its result', async () => {
    const first = { invoice: 'I-7', key: 'invoice:7' };
    const calls = await Promise.all(Array.from({ length: 5 }, () => jobs.bill({ id: '7' })));
    expect(calls).toEqual([first, first, first, first, first]);
    expect(await jobs.bill({ id: '7' })).toEqual(first);
    expect((await jobs.bill({ id: '8' })).invoice).toBe('I-8');
    expect(runs).toEqual(['7', '8']);
  });

  it('takes the key from a function, and rejects while another call runs and waitTime is over', async () => {
    const first = jobs.report(5);
    await expect(jobs.report(5)).rejects.toBeInstanceOf(LockContendedError);
    gates.of('report').open();
    expect(await first).toBeUndefined();
    expect(await jobs.report(5)).toBeUndefined();
    await jobs.report(6);
    expect(runs).toEqual(['report 5', 'report 6']);
  });

  it('runs again after it has thrown', async () => {
    await expect(jobs.fails()).rejects.toThrow('once more');
    expect(await jobs.fails()).toBe('done');
    expect(await jobs.fails()).toBe('done');
    expect(runs).toHaveLength(2);
  });

  it('gives @CurrentLock() its lock, and stands together with @ReplicaLocked', async () => {
    expect(await jobs.withCurrentLock(1)).toBe('lock:1');
    expect(await jobs.both(1)).toEqual([true, true]);
    expect(new Reflector().get('mine', Jobs.prototype.both)).toBe(1);
    expect(Jobs.prototype.both.name).toBe('both');
  });

  it('says what an object lacks that a test put in place of the service', async () => {
    const own = new Jobs({} as never);
    giveService(own, undefined, { withLock: () => {} } as never);
    await expect(own.bill({ id: '7' })).rejects.toThrow(/give it a once\(key, options, work\)/);
    const once = async (): Promise<object> => ({ result: 'theirs', ran: false });
    giveService(own, undefined, { once } as never);
    expect(await own.bill({ id: '7' })).toBe('theirs');
  });

  it('can be given a result by a test, and is removed by reset', async () => {
    const locks = new TestLocks();
    const own = locks.provideTo(new Jobs(locks.service));
    await locks.keepElsewhere('invoice:7', { invoice: 'theirs' });
    expect(await own.bill({ id: '7' })).toEqual({ invoice: 'theirs' });
    await locks.keepElsewhere('invoice:7', { invoice: 'newer' }, '10s');
    expect(await own.bill({ id: '7' })).toEqual({ invoice: 'newer' });
    expect(locks.history.map(({ type }) => type)).toEqual(['kept', 'kept']);
    locks.assertNotLocked();
    await locks.clock.advance('11s');
    expect((await own.bill({ id: '7' })).invoice).toBe('I-7');
    locks.assertLocked('invoice:7');
    await locks.reset();
    expect((await own.bill({ id: '7' })).invoice).toBe('I-7');
    expect(runs).toEqual(['7', '7']);
    await locks.holdElsewhere('invoice:9');
    await expect(locks.keepElsewhere('invoice:9', 1)).rejects.toBeInstanceOf(LockContendedError);
    await locks.service.close();
  });
});

describe('@RunOnce on a handler', () => {
  let app: INestApplication;
  let url: string;

  beforeEach(async () => {
    ({ app, url } = await startApp({ controllers: [Orders] }));
  });
  afterEach(async () => {
    gates.openAll();
    await app.close();
  });

  const post = async (path: string, body: object = {}): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(`${url}/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  };

  it('takes the key from the raw request, answers 409 while the method runs, and then its result', async () => {
    const first = post('orders/7/pay');
    const locks = app.get(LockService);
    while (!(await locks.isLocked('pay:7'))) await new Promise((resolve) => setImmediate(resolve));
    const busy = await post('orders/7/pay');
    expect(busy).toMatchObject({ status: 409, body: { code: 'LOCK_CONTENDED' } });
    gates.of('7').open();
    const answer = { status: 201, body: { paid: '7', under: 'pay:7' } };
    expect(await first).toEqual(answer);
    expect(await post('orders/7/pay')).toEqual(answer);
    expect(runs).toEqual(['pay 7']);
  });

  it('takes an argument after its pipes, which run for each request', async () => {
    const get = async (n: string): Promise<unknown> => (await fetch(`${url}/numbers/${n}`)).json();
    expect(await get('07')).toEqual({ next: 8 });
    expect(await get('7')).toEqual({ next: 8 });
    expect(await get('seven')).toMatchObject({ statusCode: 400 });
    expect(runs).toEqual(['number 7']);
  });

  it('gives a key function the context of the request', async () => {
    expect(await post('by-body', { id: 'a', n: 1 })).toEqual({ status: 201, body: 1 });
    expect(await post('by-body', { id: 'a', n: 2 })).toEqual({ status: 201, body: 1 });
    expect(await post('by-body', { id: 'b', n: 3 })).toEqual({ status: 201, body: 3 });
  });

  it('answers 500 without details if the result is too large', async () => {
    const response = await fetch(`${url}/large`);
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({ statusCode: 500, message: 'Internal server error' });
  });
});

describe('The definition of a method that runs once', () => {
  const define =
    (key: never, options: never, method: unknown = async () => {}): (() => void) =>
    () => {
      const target = { constructor: { name: 'Jobs' } };
      RunOnce(key, options)(target, 'run', { value: method } as never);
    };

  it.each<[string, unknown, unknown, unknown, new (...args: never[]) => Error, RegExp]>([
    [
      'without options',
      'k',
      undefined,
      undefined,
      LockOptionsError,
      /^@RunOnce on Jobs.run: Option 'keepFor' is undefined/,
    ],
    [
      'with minHoldTime',
      'k',
      { keepFor: 5_000, minHoldTime: 1 },
      undefined,
      LockOptionsError,
      /left out with keepFor/,
    ],
    [
      'with onContended',
      'k',
      { keepFor: 5_000, onContended: 'skip' },
      undefined,
      LockOptionsError,
      /no option 'onContended'/,
    ],
    [
      'with a wrong name',
      'k',
      { keepFor: 5_000, name: 5 },
      undefined,
      LockOptionsError,
      /Option 'name' is 5/,
    ],
    [
      'with several keys',
      ['a', 'b'],
      { keepFor: 5_000 },
      undefined,
      LockKeyError,
      /^@RunOnce on Jobs.run needs one key/,
    ],
    ['with a bad template', 'a:{nope}', { keepFor: 5_000 }, undefined, LockKeyError, /cannot be read/],
    ['on a generator', 'k', { keepFor: 5_000 }, async function* () {}, TypeError, /must return a promise/],
    ['on a property', 'k', { keepFor: 5_000 }, 5, TypeError, /^@RunOnce on Jobs.run: only methods/],
  ])('is refused %s', (_, key, options, method, type, message) => {
    const defined = define(key as never, options as never, method);
    expect(defined).toThrow(type);
    expect(defined).toThrow(message);
  });

  it('is refused twice, and on a method that returns an Observable', () => {
    expect(() => {
      class Twice {
        @RunOnce('a', { keepFor: 5_000 })
        @RunOnce('b', { keepFor: 5_000 })
        async run(): Promise<void> {}
      }
      return Twice;
    }).toThrow(/^@RunOnce on Twice.run: the method has this decorator twice/);
    expect(() => {
      class Stream {
        // @ts-expect-error -- no promise
        @RunOnce('a', { keepFor: 5_000 })
        run(): Observable<number> {
          return of(1);
        }
      }
      return Stream;
    }).toThrow(/must return a promise/);
  });

  it('is refused above a decorator that may answer without running the method: the answer would be kept', () => {
    const keep = { keepFor: '1h' } as const;
    const busy = (): string => 'busy';
    expect(() => {
      class Led {
        @RunOnce('k', keep)
        @LeaderOnly('boss')
        async run(): Promise<void> {}
      }
      return Led;
    }).toThrow(/^@RunOnce on Led.run: @LeaderOnly stands below .* Write @LeaderOnly above @RunOnce\.$/);
    for (const onContended of ['skip', busy] as const)
      expect(() => {
        class Skipping {
          @RunOnce('k', keep)
          @ReplicaLocked('other', { waitTime: 0, onContended })
          async run(): Promise<unknown> {
            return 1;
          }
        }
        return Skipping;
      }).toThrow(/^@RunOnce on Skipping.run: @ReplicaLocked with onContended stands below/);
  });

  it('runs on the leader only, and later with the leader of another copy, if @LeaderOnly stands above', async () => {
    @Injectable()
    class Reports {
      runs = 0;

      @LeaderOnly('boss')
      @RunOnce('report:{0}', { keepFor: '1h' })
      async write(_tick: number): Promise<string> {
        return `run ${++this.runs}`;
      }
    }
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
      providers: [Reports],
    }).compile();
    await module.init();
    const [reports, locks] = [module.get(Reports), module.get(LockService)];
    await locks.elect('boss').resign();
    expect(await reports.write(1)).toBeUndefined();
    const election = locks.elect('boss');
    await until(() => election.isLeader, { what: 'this process leads' });
    expect([await reports.write(1), await reports.write(1)]).toEqual(['run 1', 'run 1']);
    await module.close();
  });

  it('is refused at start if the lease is longer than quarantine', async () => {
    @Injectable()
    class Long {
      @RunOnce('k', { keepFor: '1h', leaseTime: '1m' })
      async run(): Promise<void> {}
    }
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', quarantine: '20s' })],
      providers: [Long],
    }).compile();
    await expect(module.init()).rejects.toThrow(/^@RunOnce on Long.run: Option 'leaseTime' is '1m'/);
  });
});

describe('A handler that writes its response by itself', () => {
  const start = async (controller: new () => object): Promise<unknown> => {
    const { app } = await startApp({ controllers: [controller] });
    await app.close();
    return 'started';
  };

  it('is refused with @RunOnce: a caller that gets a kept result would wait for ever', async () => {
    @Controller()
    class Written {
      @RunOnce('k', { keepFor: '1h' })
      @Get('a')
      async write(@Res() response: { send(text: string): void }): Promise<void> {
        response.send('done');
      }
    }
    @Controller()
    class HandedOn {
      @Get('a')
      @RunOnce('k', { keepFor: '1h' })
      async write(@Next() next: () => void): Promise<void> {
        next();
      }
    }
    await expect(start(Written)).rejects.toThrow(/^@RunOnce on Written.write: the answer .* never be sent/);
    await expect(start(HandedOn)).rejects.toThrow(/^@RunOnce on HandedOn.write: the answer/);
  });

  it('is refused with an onContended: a caller that finds the lock busy would wait for ever', async () => {
    @Controller()
    class Skipping {
      @Get('a')
      @ReplicaLocked('k', { waitTime: 0, onContended: 'skip' })
      async write(@Res() response: { send(text: string): void }): Promise<void> {
        response.send('done');
      }
    }
    await expect(start(class Derived extends Skipping {})).rejects.toThrow(
      /^@ReplicaLocked with onContended on Skipping.write: the answer/,
    );
  });

  it('is accepted with passthrough, and with a lock whose error Nest answers', async () => {
    @Controller()
    class Fine {
      @Get('a')
      @RunOnce('k', { keepFor: '1h' })
      async once(@Res({ passthrough: true }) _response: unknown): Promise<string> {
        return 'done';
      }

      @Get('b')
      @ReplicaLocked('l', { waitTime: 0 })
      async locked(@Res() response: { send(text: string): void }): Promise<void> {
        response.send('done');
      }
    }
    expect(await start(Fine)).toBe('started');
  });
});
