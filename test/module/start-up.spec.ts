import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Injectable,
  Module,
  Scope,
  type DynamicModule,
  type INestApplicationContext,
  type ModuleMetadata,
  type OnModuleInit,
} from '@nestjs/common';
import { LazyModuleLoader, ModuleRef, NestFactory, REQUEST } from '@nestjs/core';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  LockService,
  LockServiceClosedError,
  ReplicaLocked,
  ReplicaLockModule,
  type ReplicaLockModuleOptions,
} from '../../lib/index.js';
import { startReplication, type Replication } from '../support/replication.js';

const inMemory = (options: Partial<ReplicaLockModuleOptions> = {}): DynamicModule =>
  ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0, ...options });

@Injectable()
class Seeds {
  @ReplicaLocked('seed')
  async sow(): Promise<string> {
    return 'sown';
  }
}

/** A class that only factories make, not a provider. */
class Plain implements OnModuleInit {
  result: string | undefined;

  @ReplicaLocked('plain')
  async run(): Promise<string> {
    return 'ran';
  }

  async onModuleInit(): Promise<void> {
    this.result = await this.run();
  }
}

let context: INestApplicationContext | undefined;
afterEach(async () => {
  await context?.close();
  context = undefined;
});

async function start(metadata: ModuleMetadata): Promise<INestApplicationContext> {
  const root = class {};
  Module(metadata)(root);
  context = await NestFactory.createApplicationContext(root, { logger: false, abortOnError: false });
  return context;
}

describe('On Redis the first use opens the connection', () => {
  let redis: Replication;
  beforeAll(async () => {
    redis = await startReplication({ replicas: 1 });
  });
  afterAll(() => redis.dispose());
  const onRedis = (): DynamicModule => ReplicaLockModule.forRoot({ connection: redis.url, quarantine: 0 });

  it('in the async factory of another provider', async () => {
    const app = await start({
      imports: [onRedis()],
      providers: [
        {
          provide: 'database',
          inject: [LockService],
          useFactory: (locks: LockService) => locks.withLock('migrate', async () => 'migrated'),
        },
      ],
    });
    expect(app.get('database')).toBe('migrated');
  });

  it('after compile() without init(), for acquire, inspect and forceRelease', async () => {
    for (const use of ['sow', 'inspect', 'forceRelease'] as const) {
      const module: TestingModule = await Test.createTestingModule({
        imports: [onRedis()],
        providers: [Seeds],
      }).compile();
      try {
        if (use === 'sow') expect(await module.get(Seeds).sow()).toBe('sown');
        if (use === 'inspect') expect(await module.get(LockService).inspect('seed')).toBeNull();
        if (use === 'forceRelease') expect(await module.get(LockService).forceRelease('seed')).toBe(false);
      } finally {
        await module.close();
      }
    }
  });

  it('in a module that is loaded lazily, and the connection closes with the application', async () => {
    class Lazy {}
    Module({ imports: [onRedis()], providers: [Seeds] })(Lazy);
    const app = await start({});
    const lazy = await app.get(LazyModuleLoader).load(() => Lazy);
    expect(await lazy.get(Seeds).sow()).toBe('sown');
    const locks = lazy.get(LockService, { strict: false });
    await app.close();
    await expect(locks.acquire('late')).rejects.toThrow(LockServiceClosedError);
  });
});

describe('Locked methods of an object', () => {
  it.each([
    ['that a factory made run in its onModuleInit', true],
    ['that a factory made run in its onModuleInit, with the lock module imported last', false],
  ])('%s', async (_, isFirst) => {
    class Leaf {}
    Module({ providers: [{ provide: Plain, useFactory: () => new Plain() }], exports: [Plain] })(Leaf);
    const app = await start({ imports: isFirst ? [inMemory(), Leaf] : [Leaf, inMemory()] });
    expect(app.get(Plain, { strict: false }).result).toBe('ran');
  });

  it('of a request-scoped or transient factory are locked', async () => {
    const app = await start({
      imports: [inMemory()],
      providers: [
        { provide: Plain, scope: Scope.REQUEST, inject: [REQUEST], useFactory: () => new Plain() },
        { provide: 'transient', scope: Scope.TRANSIENT, useFactory: () => new Plain() },
      ],
    });
    const held = await app.get(LockService).acquire('plain');
    const runs = [await app.resolve(Plain), await app.resolve<Plain>('transient')].map((each) => each.run());
    expect(app.get(LockService).held).toHaveLength(1);
    await held.release();
    expect(await Promise.all(runs)).toEqual(['ran', 'ran']);
  });

  it('of a lazily loaded factory, and of a class that ModuleRef.create made, are locked', async () => {
    class Lazy {}
    Module({ providers: [Seeds, { provide: Plain, useFactory: () => new Plain() }] })(Lazy);
    const app = await start({ imports: [inMemory()] });
    const lazy = await app.get(LazyModuleLoader).load(() => Lazy);
    expect(await lazy.get(Seeds).sow()).toBe('sown');
    expect(await lazy.get(Plain).run()).toBe('ran');
    expect(await (await app.get(ModuleRef).create(Seeds)).sow()).toBe('sown');
  });

  it('that a factory made beside several applications refuse, and the error says so', async () => {
    const other = await NestFactory.createApplicationContext(inMemory(), { logger: false });
    try {
      const app = await start({
        imports: [inMemory()],
        providers: [{ provide: Plain, scope: Scope.TRANSIENT, useFactory: () => new Plain() }],
      });
      await expect((await app.resolve(Plain)).run()).rejects.toThrow(
        /^Plain\.run is locked, but its object was made by a factory or by hand, and 2 applications .*TestLocks\.provideTo/,
      );
    } finally {
      await other.close();
    }
  });
});

describe('A lease of a decorator that is longer than the quarantine', () => {
  class Long {
    @ReplicaLocked('long', { leaseTime: '1h' })
    async run(): Promise<void> {}
  }

  it.each([
    ['a class', { providers: [Long] }],
    ['a request-scoped class', { providers: [{ provide: Long, useClass: Long, scope: Scope.REQUEST }] }],
    ['an object of a factory', { providers: [{ provide: Long, useFactory: () => new Long() }] }],
  ] as [string, ModuleMetadata][])('is refused when the application starts: %s', async (_, metadata) => {
    await expect(start({ ...metadata, imports: [inMemory()] })).rejects.toThrow(
      /^@ReplicaLocked on Long\.run: Option 'leaseTime' is '1h': it must be at most the option quarantine \(15000 ms\)/,
    );
  });

  it('is permitted with a quarantine of the same length, and without a quarantine', async () => {
    for (const quarantine of ['1h', 0] as const) {
      const app = await start({ providers: [Long], imports: [inMemory({ quarantine })] });
      await app.get(Long).run();
      await app.close();
    }
  });
});
