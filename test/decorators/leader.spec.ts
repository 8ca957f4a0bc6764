import { Controller, Get, Inject, Injectable, Module, Scope } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterEach, describe, expect, it } from '@jest/globals';
import { from, lastValueFrom, Observable, Subject, toArray } from 'rxjs';
import { LeaderOnly, LockService, ReplicaLockModule, WhileLeader, type Lock } from '../../lib/index.js';
import { ReplicaLockTestingModule, TestLocks } from '../../lib/testing/index.js';
import { until } from '../support/eventually.js';
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
    app!.get(LockService).elect('scheduler');
    await settled();
    expect(await jobs.tick()).toBe('ticked');
  });

  it('does not stand again after a resignation because a method is called', async () => {
    @Injectable()
    class Both {
      calls = 0;

      @WhileLeader('boss', { retryTime: 100 })
      async consume(term: Lock): Promise<void> {
        this.calls++;
        await new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
      }

      @LeaderOnly('boss')
      async tick(): Promise<string> {
        return 'ticked';
      }
    }
    const locks = await start(Both);
    const both = app!.get(Both);
    const service = app!.get(LockService);
    expect([await both.tick(), both.calls]).toEqual(['ticked', 1]);
    await service.elect('boss').resign();
    expect(await both.tick()).toBeUndefined();
    await settled();
    expect([await both.tick(), service.health().elections]).toEqual([undefined, []]);
    locks.assertNothingHeld();

    // Whatever code stands again: the leader has the work. Other options do not matter to methods.
    service.elect('boss', { retryTime: 200 });
    await settled();
    expect([await both.tick(), both.calls]).toEqual(['ticked', 2]);
  });

  it('does not stand again in an object that Nest did not make', async () => {
    const locks = new TestLocks();
    const election = locks.service.elect('scheduler');
    await settled();
    const jobs = locks.provideTo(new Jobs(locks.service));
    expect(await jobs.tick()).toBe('ticked');
    await election.resign();
    expect(await jobs.tick()).toBeUndefined();
    await settled();
    expect(await jobs.tick()).toBeUndefined();
    await locks.service.close();
  });

  it('runs in the work of a term that waits to end', async () => {
    let begin!: () => void;
    const resigning = new Promise<void>((resolve) => (begin = resolve));
    @Injectable()
    class Nested {
      @LeaderOnly('boss')
      async sweep(): Promise<unknown> {
        await resigning;
        return [await this.step(), await this.step()];
      }

      @LeaderOnly('boss')
      async step(): Promise<string> {
        return 'step';
      }
    }
    await start(Nested);
    const nested = app!.get(Nested);
    const swept = nested.sweep();
    const ended = app!.get(LockService).elect('boss').resign();
    expect(await nested.step()).toBeUndefined();
    begin();
    expect(await swept).toEqual(['step', 'step']);
    await ended;
  });

  describe('has a result that comes in parts', () => {
    const source = new Subject<number>();
    @Injectable()
    class Parts {
      readonly steps: (string | undefined)[] = [];

      constructor(private readonly locks: LockService) {}

      @LeaderOnly('boss')
      typed(): Observable<number> {
        return source;
      }

      @LeaderOnly('boss')
      // oxlint-disable-next-line typescript/explicit-function-return-type -- no type is emitted
      untyped(end: Promise<unknown> | Observable<unknown>) {
        return end;
      }

      @LeaderOnly('boss')
      async *steps$(): AsyncGenerator<number> {
        for (const step of [1, 2]) {
          this.steps.push(this.locks.current('boss')?.key);
          yield step;
        }
      }

      @LeaderOnly('boss')
      async later(): Promise<Observable<number>> {
        return source;
      }
    }

    it.each<[string, (parts: Parts) => Observable<unknown>]>([
      ['an Observable', (parts) => parts.typed()],
      ['an Observable of a method without a type', (parts) => parts.untyped(source) as Observable<unknown>],
      [
        'the Observable of a promise',
        (parts) =>
          new Observable((subscriber) => {
            void parts.later().then((late?) => (late ? late.subscribe(subscriber) : subscriber.complete()));
          }),
      ],
    ])('%s: a resignation waits for each subscriber', async (_, call) => {
      const locks = await start(Parts);
      const parts = app!.get(Parts);
      const seen: unknown[] = [];
      const [one, two] = [call(parts), call(parts)].map((result) =>
        result.subscribe((value) => seen.push(value)),
      );
      await settled();
      let hasResigned = false;
      void app!
        .get(LockService)
        .elect('boss')
        .resign()
        .then(() => (hasResigned = true));
      source.next(1);
      one!.unsubscribe();
      await settled();
      source.next(2);
      expect(seen).toEqual([1, 1, 2]);
      expect([hasResigned, locks.service.held.length]).toEqual([false, 1]);
      two!.unsubscribe();
      await settled();
      expect(hasResigned).toBe(true);
      expect(await lastValueFrom(call(parts).pipe(toArray()))).toEqual([]);
    });

    it('an async generator: each step runs under the lock of the term', async () => {
      const locks = await start(Parts);
      const parts = app!.get(Parts);
      const steps = parts.steps$();
      expect(await steps.next()).toEqual({ done: false, value: 1 });
      const resigning = app!.get(LockService).elect('boss').resign();
      await settled();
      expect(locks.service.held).toHaveLength(1);
      expect(await steps.next()).toEqual({ done: false, value: 2 });
      expect(await steps.next()).toEqual({ done: true, value: undefined });
      await resigning;
      expect(parts.steps).toEqual(['boss', 'boss']);
      expect(await parts.steps$().next()).toEqual({ done: true, value: undefined });
    });

    it('a promise of a method without a type, whether awaited or subscribed to', async () => {
      await start(Parts);
      const parts = app!.get(Parts);
      expect(await parts.untyped(Promise.resolve('a'))).toBe('a');
      expect(await lastValueFrom(from(parts.untyped(Promise.resolve('b')) as Observable<unknown>))).toBe('b');
      await app!.get(LockService).elect('boss').resign();
      expect(await parts.untyped(Promise.resolve('c'))).toBeUndefined();
    });
  });

  it('is found below a decorator that replaces the function, and by a symbol', async () => {
    const symbol = Symbol('work');
    const Wrapped: MethodDecorator = (_target, _property, descriptor) => {
      const inner = descriptor.value as unknown as (...args: unknown[]) => unknown;
      descriptor.value = function wrapped(this: object, ...args: unknown[]) {
        return inner.apply(this, args);
      } as never;
    };
    @Injectable()
    class Hidden {
      readonly called: string[] = [];

      @Wrapped
      @WhileLeader('wrapped')
      async work(): Promise<void> {
        this.called.push('wrapped');
      }

      @WhileLeader('symbol')
      async [symbol](): Promise<void> {
        this.called.push('symbol');
      }
    }
    await start(Hidden);
    expect(app!.get(Hidden).called).toEqual(['wrapped', 'symbol']);
  });

  it('is not inherited by a method that overrides it', async () => {
    @Injectable()
    class Override extends Jobs {
      override async consume(term: Lock): Promise<void> {
        return super.consume(term);
      }
    }
    await start(Override);
    expect(app!.get(Override).terms).toEqual([]);
    expect(await app!.get(Override).tick()).toBe('ticked');
  });

  it.each([
    ['transient', Scope.TRANSIENT],
    ['request-scoped', Scope.REQUEST],
  ])('refuses @WhileLeader at start on a %s provider', async (_, scope) => {
    @Injectable({ scope })
    class Scoped {
      @WhileLeader('boss')
      async work(): Promise<void> {}
    }
    @Injectable()
    class User {
      constructor(@Inject(Scoped) readonly scoped: Scoped) {}
    }
    await expect(start(User, Scoped)).rejects.toThrow(/@WhileLeader on Scoped.work: .*default scope/);
  });

  it('leaves no election behind if the decorators contradict each other', async () => {
    @Injectable()
    class Contradiction {
      readonly begun: string[] = [];

      @WhileLeader('first')
      async work(): Promise<void> {
        this.begun.push('first');
      }

      @WhileLeader('second')
      async one(): Promise<void> {}

      @WhileLeader('second')
      async two(): Promise<void> {}
    }
    const module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot()],
      providers: [Contradiction],
    }).compile();
    app = module;
    await expect(module.init()).rejects.toThrow(/Contradiction.two: Contradiction.one is the work/);
    await settled();
    expect(module.get(Contradiction).begun).toEqual([]);
    expect(module.get(LockService).health().elections).toEqual([]);
  });

  it('runs with an object in place of LockService, and says what the object lacks', async () => {
    const term = { key: 'scheduler' } as Lock;
    const double = { elect: () => ({ isLeader: true, term }), assertHeld: () => term };
    for (const [value, end] of [
      [double, expect.objectContaining({ value: 'ticked' })],
      [{ assertHeld: () => term }, expect.objectContaining({ reason: expect.any(Error) })],
    ] as const) {
      const module = await Test.createTestingModule({
        imports: [ReplicaLockModule.forRoot({ connection: 'memory:' })],
        providers: [Jobs],
      })
        .overrideProvider(LockService)
        .useValue(value)
        .compile();
      await module.init();
      expect((await Promise.allSettled([module.get(Jobs).tick()]))[0]).toEqual(end);
      await module.close();
    }
  });

  it('is told of a shutdown after onModuleDestroy, and has ended before onApplicationShutdown', async () => {
    const order: string[] = [];
    @Injectable()
    class Connection {
      onModuleDestroy(): void {
        order.push('onModuleDestroy');
      }

      onApplicationShutdown(): void {
        order.push('onApplicationShutdown');
      }
    }
    @Injectable()
    class Consumer {
      @WhileLeader('consumer')
      async consume(term: Lock): Promise<void> {
        await new Promise<void>((resolve) => term.signal.addEventListener('abort', () => resolve()));
        order.push('told');
        await settled();
        order.push('ended');
      }
    }
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:' })],
      providers: [Connection, Consumer],
    }).compile();
    await module.init();
    await settled();
    await module.close();
    expect(order).toEqual(['onModuleDestroy', 'told', 'ended', 'onApplicationShutdown']);
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

  it.each([true, false])(
    'may be called before the start, whatever the options of another method are (isGlobal: %s)',
    async (isGlobal) => {
      const order: unknown[] = [];
      @Injectable()
      class Early {
        async onModuleInit(): Promise<void> {
          order.push(await this.tick());
        }

        @LeaderOnly('boss')
        async tick(): Promise<string> {
          return 'ticked';
        }
      }
      @Injectable()
      class Work {
        onApplicationBootstrap(): void {
          order.push('started');
        }

        @WhileLeader('boss', { leaseTime: '5s' })
        async consume({ leaseTime, signal }: Lock): Promise<void> {
          order.push(leaseTime);
          await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        }
      }
      const module = await Test.createTestingModule({
        imports: [ReplicaLockModule.forRoot({ connection: 'memory:', isGlobal })],
        providers: [Early, Work],
      }).compile();
      app = module;
      await module.init();
      await until(() => order.length === 3, { what: 'the work has begun' });
      expect(new Set(order)).toEqual(new Set([undefined, 5_000, 'started']));
      expect(await module.get(Early).tick()).toBe('ticked');
    },
  );

  it('says at start that the class of the work is provided twice', async () => {
    @Module({ providers: [Jobs] })
    class One {}
    @Module({ providers: [Jobs] })
    class Other {}
    const module = await Test.createTestingModule({
      imports: [ReplicaLockTestingModule.forRoot(), One, Other],
    }).compile();
    await expect(module.init()).rejects.toThrow(
      /^@WhileLeader on Jobs.consume: two objects .* Provide the class in one module and export it/,
    );
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
