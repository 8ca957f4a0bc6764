import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  forwardRef,
  Inject,
  Injectable,
  type INestApplicationContext,
  Scope,
  type Type,
} from '@nestjs/common';
import { Interval, ScheduleModule } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { firstValueFrom, map, Observable, of, timer, toArray } from 'rxjs';
import {
  InjectLockService,
  LockKeyError,
  LockOptionsError,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
} from '../../lib/index.js';
import { until } from '../support/eventually.js';
import { Gate } from './apps.js';

@Injectable()
class Work {
  constructor(private readonly locks: LockService) {}

  @ReplicaLocked('work:{0.id}')
  async byArgument(order: { id: unknown }): Promise<string | undefined> {
    return this.locks.current()?.key ?? `none for ${String(order.id)}`;
  }

  @ReplicaLocked((a: number, b: string) => [`a:${a}`, `b:${b}`])
  async byFunction(_a: number, _b: string, _more?: boolean): Promise<readonly string[] | undefined> {
    return this.locks.current()?.keys;
  }

  @ReplicaLocked('self')
  async self(depth = 3): Promise<number> {
    return depth === 0 ? 0 : 1 + (await this.self(depth - 1));
  }

  @ReplicaLocked('stream')
  stream(): Observable<boolean> {
    return timer(0, 2).pipe(map(() => this.locks.held.some(({ key }) => key === 'stream')));
  }

  @ReplicaLocked('busy', { waitTime: 0 })
  async throws(): Promise<string> {
    return 'ran';
  }

  @ReplicaLocked('busy', { waitTime: 0, onContended: 'skip' })
  async skips(): Promise<string> {
    return 'ran';
  }

  @ReplicaLocked('busy', { waitTime: 0, onContended: async (error) => `${error.name} instead` })
  async instead(): Promise<string> {
    return 'ran';
  }

  @ReplicaLocked('busy', { waitTime: 0, onContended: () => of('instead') })
  streamInstead(): Observable<string> {
    return of('ran');
  }

  @ReplicaLocked('inner-contended', { waitTime: 0, onContended: 'skip' })
  async innerContended(): Promise<string> {
    return this.throws();
  }

  @ReplicaLocked('{params.id}')
  async wantsRequest(): Promise<void> {}
}

@Injectable()
class Child extends Work {
  constructor(private readonly mine: LockService) {
    super(mine);
  }

  @ReplicaLocked('child')
  override async self(): Promise<number> {
    expect(this.mine.current()?.key).toBe('child');
    return super.self(0);
  }
}

const contexts: INestApplicationContext[] = [];
afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()));
});

async function start(metadata: {
  providers: unknown[];
  imports?: unknown[];
}): Promise<INestApplicationContext> {
  const module = await Test.createTestingModule({
    imports: [
      ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 200 }),
      ...((metadata.imports ?? []) as Type[]),
    ],
    providers: metadata.providers as Type[],
  }).compile();
  const context = await module.init();
  contexts.push(context);
  return context;
}

describe('A locked method of a provider', () => {
  it('finds its key in its arguments', async () => {
    const work = (await start({ providers: [Work] })).get(Work);
    expect(await work.byArgument({ id: 'a/b' })).toBe('work:a%2Fb');
    expect(await work.byArgument({ id: 7n })).toBe('work:7');
    expect(await work.byArgument({ id: true })).toBe('work:true');
    expect(await work.byFunction(1, 'x')).toEqual(['a:1', 'b:x']);
    for (const id of [undefined, null, '', Number.NaN, {}, [], Symbol('s'), () => 1, '\ud800']) {
      await expect(work.byArgument({ id })).rejects.toMatchObject({ code: 'LOCK_KEY', fromRequest: false });
    }
    await expect(work.wantsRequest()).rejects.toThrow(/Work\.wantsRequest.*called as a plain method/);
  });

  it('may call itself, and its class has no visible additions', async () => {
    const work = (await start({ providers: [Work] })).get(Work);
    expect(await work.self()).toBe(3);
    expect(Object.keys(work)).toEqual(['locks']);
    expect(work.self.name).toBe('self');
    expect(work.byFunction).toHaveLength(3);
  });

  it('is locked if inherited, and if overridden', async () => {
    const child = (await start({ providers: [Child] })).get(Child);
    expect(await child.self()).toBe(0);
    expect(await child.byArgument({ id: 1 })).toBe('work:1');
  });

  it('may return an Observable, which is locked while it is subscribed to', async () => {
    const context = await start({ providers: [Work] });
    const [work, locks] = [context.get(Work), context.get(LockService)];
    const stream = work.stream();
    expect(locks.held).toEqual([]);
    const seen: boolean[] = [];
    const subscription = stream.subscribe((value) => seen.push(value));
    await until(() => seen.length >= 3, { what: 'it has run' });
    subscription.unsubscribe();
    expect(new Set(seen)).toEqual(new Set([true]));
    await until(() => locks.held.length === 0, { what: 'it is released' });
    const held = await locks.acquire('stream');
    const waiting = stream.subscribe();
    waiting.unsubscribe();
    await held.release();
    expect(await locks.isLocked('stream')).toBe(false);
  });

  it('decides with onContended what happens if the lock stays busy', async () => {
    const context = await start({ providers: [Work] });
    const work = context.get(Work);
    await context.get(LockService).acquire('busy');
    await expect(work.throws()).rejects.toMatchObject({ code: 'LOCK_CONTENDED' });
    expect(await work.skips()).toBeUndefined();
    expect(await work.instead()).toBe('LockContendedError instead');
    expect(await firstValueFrom(work.streamInstead().pipe(toArray()))).toEqual(['instead']);
    await expect(work.innerContended()).rejects.toMatchObject({ code: 'LOCK_CONTENDED', keys: ['busy'] });
  });

  it('is locked in every scope, in whatever way the object was made', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Transient extends Work {}
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest extends Work {}
    const value = Object.create(Work.prototype) as Work;
    const context = await start({
      providers: [
        Transient,
        PerRequest,
        { provide: 'factory', useFactory: (locks: LockService) => new Work(locks), inject: [LockService] },
        { provide: 'value', useValue: value },
        { provide: 'existing', useExisting: 'factory' },
      ],
    });
    expect(await (await context.resolve(Transient)).self()).toBe(3);
    expect(await (await context.resolve(PerRequest)).self()).toBe(3);
    for (const name of ['factory', 'value', 'existing']) expect(await context.get<Work>(name).self()).toBe(3);
  });

  it('rejects if its template names a property that every object inherits', async () => {
    class Reach {
      @ReplicaLocked('{0.constructor.name}')
      async run(_: object): Promise<void> {}
    }
    await expect((await start({ providers: [Reach] })).get(Reach).run({})).rejects.toMatchObject({
      code: 'LOCK_KEY',
    });
  });

  it('of an object that Nest did not create is refused with a hint', async () => {
    await expect(new Work(undefined as never).self()).rejects.toThrow(
      /Work\.self is locked, but no application .* runs.*TestLocks/,
    );
    await expect(firstValueFrom(new Work(undefined as never).stream())).rejects.toThrow(
      /no application .* runs/,
    );
  });

  it('locks with the service of its own application', async () => {
    const [one, two] = [await start({ providers: [Work] }), await start({ providers: [Work] })];
    const held = await one.get(LockService).acquire('busy');
    await expect(one.get(Work).throws()).rejects.toMatchObject({ code: 'LOCK_CONTENDED' });
    expect(await two.get(Work).throws()).toBe('ran');
    await held.release();
  });

  it('locks with a named instance, which can be injected', async () => {
    @Injectable()
    class Named {
      constructor(@InjectLockService('payments') readonly locks: LockService) {}

      @ReplicaLocked('named', { name: 'payments' })
      async run(): Promise<boolean> {
        return this.locks.isLocked('named');
      }
    }
    const context = await start({
      imports: [ReplicaLockModule.forRoot({ name: 'payments', connection: 'memory:' })],
      providers: [Named],
    });
    expect(await context.get(Named).run()).toBe(true);
    expect(context.get(Named).locks).not.toBe(context.get(LockService));
  });

  it('works in circular providers, and with a service that a test has replaced', async () => {
    @Injectable()
    class A {
      constructor(@Inject(forwardRef(() => B)) readonly b: unknown) {}
      @ReplicaLocked('circle')
      async run(): Promise<string> {
        return 'a';
      }
    }
    @Injectable()
    class B {
      constructor(@Inject(forwardRef(() => A)) readonly a: A) {}
    }
    const withLock = jest.fn((_key: unknown, _options: unknown, work: () => unknown) =>
      Promise.resolve(work()),
    );
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:' })],
      providers: [A, B],
    })
      .overrideProvider(LockService)
      .useValue({ withLock, reports: of(), open: () => {}, drain: () => {}, close: () => {} })
      .compile();
    contexts.push(await module.init());
    expect(await module.get(B).a.run()).toBe('a');
    expect(withLock).toHaveBeenCalledWith('circle', { label: 'circle' }, expect.any(Function));
  });

  it.each(['above', 'below'])('locks a scheduled job with the decorator %s the schedule', async (place) => {
    const gate = new Gate();
    let [running, most, runs] = [0, 0, 0];
    const run = async (): Promise<void> => {
      runs++;
      most = Math.max(most, ++running);
      await gate.passed;
      running--;
    };
    @Injectable()
    class Above {
      @ReplicaLocked('job', { waitTime: 0, onContended: 'skip' })
      @Interval(5)
      async tick(): Promise<void> {
        await run();
      }
    }
    @Injectable()
    class Below {
      @Interval(5)
      @ReplicaLocked('job', { waitTime: 0, onContended: 'skip' })
      async tick(): Promise<void> {
        await run();
      }
    }
    const Job = place === 'above' ? Above : Below;
    const tick = jest.spyOn(LockService.prototype, 'withLock');
    await start({ imports: [ScheduleModule.forRoot()], providers: [Job] });
    await until(() => tick.mock.calls.length > 5, { what: 'the job has been tried a few times' });
    expect([runs, most]).toEqual([1, 1]);
    gate.open();
    await until(() => runs > 1, { what: 'it runs again' });
    tick.mockRestore();
  });
});

describe('@ReplicaLocked refuses at definition', () => {
  const define =
    (decorate: (target: object) => void): (() => void) =>
    () =>
      decorate({});

  it('a static method', () => {
    expect(() => {
      class Static {
        @ReplicaLocked('k')
        static async run(): Promise<void> {}
      }
      return Static;
    }).toThrow(/Static\.run.*static method/);
  });

  it('a property or an accessor', () => {
    const decorator = ReplicaLocked('k') as unknown as (
      target: object,
      name: string,
      descriptor?: PropertyDescriptor,
    ) => void;
    expect(define((target) => decorator(target, 'property'))).toThrow(/only methods/);
    expect(define((target) => decorator(target, 'getter', { get: () => 1 }))).toThrow(/only methods/);
  });

  it('a method, if the compiler uses standard decorators', () => {
    const decorator = ReplicaLocked('k') as unknown as (method: () => Promise<void>, context: object) => void;
    expect(() => decorator(async function pay() {}, { kind: 'method', name: 'pay' })).toThrow(
      /on pay: set experimentalDecorators/,
    );
  });

  it('a second @ReplicaLocked on the same method', () => {
    expect(() => {
      class Twice {
        @ReplicaLocked('a')
        @ReplicaLocked('b')
        async run(): Promise<void> {}
      }
      return Twice;
    }).toThrow(/Twice\.run.*twice.*array of keys/);
  });

  it.each([
    ['{', /\{ has no \}/],
    ['a}', /\} has no \{/],
    ['{}', /begins with none of/],
    ['{param.id}', /begins with none of/],
    ['{params..id}', /empty name/],
    ['', /is empty/],
    [[], /needs a key/],
    [[1], /needs a key/],
    ['half \ud83d', /not well-formed Unicode/],
    [Array.from({ length: 257 }, (_, i) => `k${i}`), /has 257 keys: 256 are the most/],
    [undefined, /needs a key/],
  ])('the key %p', (key, message) => {
    const decorator = ReplicaLocked(key as string);
    const method = { value: async (): Promise<void> => {} };
    expect(() => decorator({}, 'run', method)).toThrow(message);
    if (typeof key === 'string') expect(() => decorator({}, 'run', method)).toThrow(LockKeyError);
  });

  it.each([
    [
      { leaseTime: '5 bananas' },
      /^@ReplicaLocked on Shop\.pay: Option 'leaseTime' is '5 bananas': it must be/,
    ],
    [{ waitTme: 5 }, /^@ReplicaLocked on Shop\.pay: There is no option 'waitTme': did you mean 'waitTime'/],
    [{ onContend: 'skip' }, /did you mean 'onContended'/],
    [{ onContended: 'ignore' }, /Option 'onContended' is 'ignore': it must be 'throw', 'skip' or a function/],
    [{ name: 5 }, /Option 'name' is 5/],
  ])('the options %p', (options, message) => {
    class Shop {}
    const decorator = ReplicaLocked('k', options as object);
    const decorate = (): void => decorator(Shop.prototype, 'pay', { value: async (): Promise<void> => {} });
    expect(decorate).toThrow(message);
    expect(decorate).toThrow(LockOptionsError);
  });
});
