import { Controller, Get, Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterEach, describe, expect, it } from '@jest/globals';
import { LeaderOnly, LockService, ReplicaLockModule, WhileLeader, type Lock } from '../../lib/index.js';
import { ReplicaLockTestingModule, TestLocks } from '../../lib/testing/index.js';
import { settled } from '../support/manual-clock.js';

@Injectable()
class Jobs {
  ticks = 0;
  readonly terms: Lock[] = [];
  readonly ended: boolean[] = [];

  constructor(private readonly locks: LockService) {}

  @LeaderOnly('scheduler')
  async tick(by = 1): Promise<string> {
    this.locks.assertHeld('scheduler');
    this.ticks += by;
    return 'ticked';
  }

  @WhileLeader('consumer')
  async consume(term: Lock): Promise<void> {
    this.terms.push(term);
    await new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
    this.ended.push(term.held);
  }
}

describe('The work of a leader', () => {
  let app: TestingModule | undefined;
  afterEach(() => app?.close());

  const start = async (...providers: (new (...args: never[]) => object)[]): Promise<TestLocks> => {
    const module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot()],
      providers,
    }).compile();
    app = module;
    await module.init();
    await settled();
    return module.get(TestLocks);
  };

  it('runs on the leader, and resolves undefined while another process leads', async () => {
    const locks = await start(Jobs);
    const jobs = app!.get(Jobs);
    locks.assertLeader('scheduler');
    expect(await jobs.tick(2)).toBe('ticked');

    await app!.get(LockService).elect('scheduler').resign();
    const other = await locks.electElsewhere('scheduler');
    expect(await jobs.tick()).toBeUndefined();
    expect(() => locks.assertLeader('scheduler')).toThrow(/does not lead 'scheduler'/);
    expect(jobs.ticks).toBe(2);

    await other.release();
    await settled();
    expect(await jobs.tick()).toBe('ticked');
  });

  it('is called with each term, and ends before its lock is released', async () => {
    const locks = await start(Jobs);
    const jobs = app!.get(Jobs);
    expect(jobs.terms).toHaveLength(1);
    locks.depose('consumer');
    await settled();
    expect(jobs.terms).toHaveLength(2);
    expect(jobs.ended).toEqual([false]);
    await app!.close();
    app = undefined;
    expect(jobs.ended).toEqual([false, true]);
    locks.assertNothingHeld();
  });

  it('ends with the application, with the module as users import it', async () => {
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: '1h' })],
      providers: [Jobs],
    }).compile();
    app = await module.init();
    const jobs = app.get(Jobs);
    expect(await jobs.tick()).toBe('ticked');
    await app.close();
    app = undefined;
    expect(jobs.ended).toEqual([true]);
  });

  it('is no handler: refused at start if the route stands above', async () => {
    @Controller()
    class Above {
      @Get()
      @LeaderOnly('boss')
      async get(): Promise<void> {}
    }
    const module = Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot()],
      controllers: [Above],
    });
    const compiled = await module.compile();
    await expect(compiled.init()).rejects.toThrow(
      /@LeaderOnly on Above.get: a handler .* cannot be left to the leader/,
    );
    await compiled.close();
  });

  it('is no handler: refused at definition if the route stands below', () => {
    expect(() => {
      class Below {
        @WhileLeader('boss')
        @Get()
        async get(): Promise<void> {}
      }
      return Below;
    }).toThrow(/@WhileLeader on Below.get: a handler/);
  });

  it.each([
    ['a template as key', () => LeaderOnly('boss:{0}'), /looks like a template/],
    ['an empty key', () => LeaderOnly(''), /key is empty/],
    ['an unknown option', () => LeaderOnly('boss', { waitTime: 1 } as object), /no option 'waitTime'/],
    ['a short lease', () => WhileLeader('boss', { leaseTime: 1 }), /@WhileLeader on Bad.work.*leaseTime/],
  ])('refuses %s at definition', (_, decorator, message) => {
    expect(() => {
      class Bad {
        async work(): Promise<void> {}
      }
      const descriptor = Object.getOwnPropertyDescriptor(Bad.prototype, 'work')!;
      decorator()(Bad.prototype, 'work', descriptor);
    }).toThrow(message);
  });

  it.each(['first', 'last'])(
    'takes the options of the method that has them, if its class stands %s',
    async (place) => {
      @Injectable()
      class Plain {
        @LeaderOnly('boss')
        async tick(): Promise<string> {
          return 'ticked';
        }
      }
      @Injectable()
      class Special {
        @WhileLeader('boss', { leaseTime: '7s', label: 'the boss' })
        async work(term: Lock): Promise<void> {
          await new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
        }
      }
      const locks = await start(...(place === 'first' ? [Special, Plain] : [Plain, Special]));
      expect(await app!.get(Plain).tick()).toBe('ticked');
      expect(locks.history.find(({ type }) => type === 'elected')).toMatchObject({ label: 'the boss' });
    },
  );

  it('refuses two methods of one election whose options differ', async () => {
    @Injectable()
    class Long {
      @LeaderOnly('boss', { leaseTime: '8s' })
      async tick(): Promise<void> {}
    }
    @Injectable()
    class Short {
      @LeaderOnly('boss', { leaseTime: '7s' })
      async tick(): Promise<void> {}
    }
    await expect(start(Long, Short)).rejects.toThrow(/'boss' with other options/);
  });

  it('refuses a second work of one election at start', async () => {
    @Injectable()
    class Rival {
      @WhileLeader('consumer')
      async consume(): Promise<void> {}
    }
    await expect(start(Jobs, Rival)).rejects.toThrow(
      /Rival.consume: Jobs.consume is the work of the election 'consumer'/,
    );
  });
});
