import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  Injectable,
  type INestApplicationContext,
  type LoggerService,
  Module,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { filter, map, merge, Subject } from 'rxjs';
import {
  getLockServiceToken,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  type ReplicaLockModuleOptions,
  type ReplicaLockOptionsFactory,
} from '../../lib/index.js';
import { LockNotReplicatedError } from '../../lib/lock/errors.js';
import { reportOf, type LockEvent } from '../../lib/lock/events.js';
import { logLocks } from '../../lib/module/lock-log.js';
import { checkOptions } from '../../lib/module/options.js';
import type { StoreReport } from '../../lib/store/lock-store.js';
import { until } from '../support/eventually.js';

const contexts: INestApplicationContext[] = [];
afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()));
});

async function start(
  imports: unknown[],
  providers: unknown[] = [],
  logger: LoggerService | false = false,
): Promise<INestApplicationContext> {
  const module = await Test.createTestingModule({
    imports: imports as Type[],
    providers: providers as Type[],
  })
    .setLogger(logger === false ? { log() {}, warn() {}, error() {} } : logger)
    .compile();
  const context = await module.init();
  contexts.push(context);
  return context;
}

@Injectable()
class Settings implements ReplicaLockOptionsFactory {
  createReplicaLockOptions(): ReplicaLockModuleOptions {
    return { connection: 'memory:', leaseTime: '7s' };
  }
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

describe('ReplicaLockModule', () => {
  it.each([
    ['forRoot', ReplicaLockModule.forRoot({ connection: 'memory:', leaseTime: '7s' })],
    [
      'forRootAsync with useFactory',
      ReplicaLockModule.forRootAsync({
        imports: [SettingsModule],
        inject: [Settings],
        useFactory: async (settings: Settings) => settings.createReplicaLockOptions(),
      }),
    ],
    ['forRootAsync with useClass', ReplicaLockModule.forRootAsync({ useClass: Settings })],
    [
      'forRootAsync with useExisting',
      ReplicaLockModule.forRootAsync({ imports: [SettingsModule], useExisting: Settings }),
    ],
  ])('provides the service by %s', async (_, imported) => {
    const locks = (await start([imported])).get(LockService);
    const lock = await locks.acquire('k');
    expect(lock.leaseTime).toBe(7_000);
    await lock.release();
  });

  it('is global by default', async () => {
    @Injectable()
    class Needs {
      constructor(readonly locks: LockService) {}
    }
    @Module({ providers: [Needs] })
    class Elsewhere {}
    const context = await start([ReplicaLockModule.forRoot({ connection: 'memory:' }), Elsewhere]);
    expect(context.get(Needs, { strict: false }).locks).toBeInstanceOf(LockService);
    await expect(
      start([ReplicaLockModule.forRoot({ connection: 'memory:', isGlobal: false }), Elsewhere]),
    ).rejects.toThrow(/LockService/);
  });

  it('has one service per name', async () => {
    const context = await start([
      ReplicaLockModule.forRoot({ connection: 'memory:' }),
      ReplicaLockModule.forRoot({ name: 'a', connection: 'memory:' }),
      ReplicaLockModule.forRootAsync({ name: 'b', useFactory: () => ({ connection: 'memory:' }) }),
    ]);
    const services = [undefined, 'a', 'b'].map((name) => context.get<LockService>(getLockServiceToken(name)));
    expect(new Set(services).size).toBe(3);
    for (const service of services) await (await service.acquire('k')).release();
  });

  it('refuses to be imported twice without a name, or twice with one name', async () => {
    await expect(
      start([
        ReplicaLockModule.forRoot({ connection: 'memory:' }),
        ReplicaLockModule.forRoot({ connection: 'memory:' }),
      ]),
    ).rejects.toThrow(/imported 2 times without a name/);
    const named = (): unknown => ReplicaLockModule.forRoot({ name: 'x', connection: 'memory:' });
    await expect(start([named(), named()])).rejects.toThrow(/imported 2 times as 'x'/);
  });

  it('appears in the error of Nest if it is missing', async () => {
    @Injectable()
    class Locked {
      @ReplicaLocked('k')
      async run(): Promise<void> {}
    }
    await expect(start([], [Locked])).rejects.toThrow(/ReplicaLockModule \(needed by @ReplicaLocked\)/);
  });

  it('starts while Redis is down, and says so once', async () => {
    const lines: string[] = [];
    const write = (message: unknown, ...rest: unknown[]): void =>
      void lines.push(`${rest.at(-1)}: ${message}`);
    const context = await start(
      [
        ReplicaLockModule.forRoot({
          connection: { host: '127.0.0.1', port: 1 },
          waitTime: 0,
          replicaTimeout: 100,
          replicas: 1,
        }),
      ],
      [],
      { log: write, warn: write, error: write },
    );
    await expect(context.get(LockService).acquire('k')).rejects.toMatchObject({
      code: 'LOCK_UNAVAILABLE',
      message: expect.stringContaining('127.0.0.1:1'),
    });
    expect(context.get(LockService).health()).toMatchObject({ status: 'down' });
    await until(() => lines.some((line) => line.startsWith('ReplicaLock: Redis at 127.0.0.1:1')), {
      what: 'it was logged',
    });
    expect(lines.filter((line) => line.startsWith('ReplicaLock:'))).toHaveLength(1);
  });

  it('logs a lost lock, and no acquisition', async () => {
    const lines: string[] = [];
    const write = (message: unknown): void => void lines.push(String(message));
    const context = await start([ReplicaLockModule.forRoot({ connection: 'memory:' })], [], {
      log: () => {},
      warn: write,
      error: write,
    });
    const locks = context.get(LockService);
    const lock = await locks.acquire('k');
    await (await locks.acquire('other')).release();
    await locks.forceRelease('k');
    await until(() => !lock.held, { what: 'the loss is known' });
    expect(lines).toEqual([expect.stringMatching(/^Lock 'k' was lost at /)]);
  });

  it('warns of too few confirmations and late releases, once per kind in ten seconds', () => {
    const lines: [string, string][] = [];
    const events = new Subject<LockEvent>();
    const reports = new Subject<StoreReport>();
    const told = events.pipe(
      map(reportOf),
      filter((report) => report !== undefined),
    );
    logLocks({ reports: merge(reports, told) } as unknown as LockService, {
      log: (line: string) => void lines.push(['log', line]),
      warn: (line: string) => void lines.push(['warn', line]),
      error: (line: string) => void lines.push(['error', line]),
    });
    const of = { keys: ['k'], label: undefined, owner: 'o', fencingToken: 1, held: 1 };
    const replicas = [
      { address: '10.0.0.6:6379', acknowledged: true, lag: 0 },
      { address: '10.0.0.7:6379', acknowledged: false, lag: 12 },
    ];
    const error = new LockNotReplicatedError(
      ['k'],
      { kind: 'unconfirmed', confirmed: 1, required: 2, replicas },
      1_000,
    );
    for (let i = 0; i < 5; i++) {
      events.next({ type: 'acquired', ...of, limit: 1, confirmedBy: 1, waited: 1, confirmedIn: 1 });
      events.next({ type: 'renewed', ...of, confirmedBy: 1, remainingTime: 1 });
      events.next({ type: 'contended', ...of, holder: 'o', waited: 1 });
      events.next({ type: 'unconfirmed', ...of, confirmed: 1, required: 2, error });
      events.next({ type: 'released', ...of, answered: true });
      events.next({ type: 'released', ...of, answered: false });
      reports.next({ level: 'warn', code: 'connection-lost', message: 'gone' });
      reports.next({ level: 'warn', code: 'connection-lost', message: 'another is gone' });
    }
    expect(lines).toEqual([
      [
        'warn',
        expect.stringMatching(
          /^Lock 'k' was not confirmed.*10\.0\.0\.7:6379.*'majority'.*not logged for 10 s/,
        ),
      ],
      ['warn', expect.stringContaining("release of 'k' was not answered")],
      ['warn', 'gone'],
      ['warn', 'another is gone'],
    ]);
  });

  it('writes a message again after ten seconds, and forgets what it wrote before', () => {
    const now = jest.spyOn(performance, 'now');
    const deletions = jest.spyOn(Map.prototype, 'delete');
    try {
      const lines: string[] = [];
      const reports = new Subject<StoreReport>();
      const logger = { log: (line: string) => lines.push(line) } as unknown as LoggerService;
      logLocks({ reports } as unknown as LockService, logger);
      for (const [second, message] of Object.entries(['term 1', 'term 2', 'term 1', 'term 3'])) {
        now.mockReturnValue(Number(second) * 4_000);
        reports.next({ level: 'log', code: 'elected', message });
      }
      now.mockReturnValue(13_900);
      reports.next({ level: 'log', code: 'elected', message: 'term 1' });
      expect(lines).toEqual(['term 1', 'term 2', 'term 3', 'term 1']);
      expect(deletions.mock.calls).toEqual([['electedterm 1']]);
    } finally {
      now.mockRestore();
      deletions.mockRestore();
    }
  });

  it('closes once, no matter how many callers ask and how many providers hold the service', async () => {
    const close = jest.spyOn(LockService.prototype, 'close');
    const context = await start(
      [ReplicaLockModule.forRoot({ connection: 'memory:' })],
      [{ provide: 'again', useFactory: (locks: LockService) => locks, inject: [LockService] }],
    );
    contexts.length = 0;
    await Promise.all([context.close(), context.close()]);
    await context.close();
    expect(new Set(close.mock.results.map(({ value }) => value)).size).toBeLessThanOrEqual(1);
    close.mockRestore();
  });

  it('waits for running work in an application without a server', async () => {
    @Module({ imports: [ReplicaLockModule.forRoot({ connection: 'memory:' })] })
    class App {}
    const context = await NestFactory.createApplicationContext(App, { logger: false });
    let isDone = false;
    const work = context.get(LockService).withLock('k', async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      isDone = true;
    });
    await until(() => context.get(LockService).held.length === 1, { what: 'the work has begun' });
    await context.close();
    expect(isDone).toBe(true);
    await work;
  });
});

describe('The options at the start of the application', () => {
  it.each([
    ['connection', undefined],
    ['connection', 'localhost:6379'],
    ['connection', 5],
    ['replicas', 'some'],
    ['replicas', -1],
    ['replicas', 1.5],
    ['allowNoReplicas', 0],
    ['allowNoReplicas', 'true'],
    ['quarantine', -1],
    ['quarantine', Infinity],
    ['quarantine', '5 bananas'],
    ['quarantine', '10s'],
    ['replicaTimeout', 0],
    ['leaseTime', 50],
    ['leaseTime', Number.NaN],
    ['leaseTime', 2 ** 31],
    ['renew', 1],
    ['maxHoldTime', -1],
    ['waitTime', -1],
    ['keyPrefix', 5],
    ['keyPrefix', 'a{b'],
    ['keyPrefix', 'a}b'],
    ['keyPrefix', 'half \ud83d'],
    ['clockSkew', 'x'],
    ['shutdownTimeout', -1],
    ['allowEviction', 'no'],
    ['exceptionFactory', 423],
  ])('%s: %p', async (option, value) => {
    const options = { connection: 'memory:', [option]: value } as unknown as ReplicaLockModuleOptions;
    expect(() => checkOptions(options)).toThrow(new RegExp(`Option '${option}' is .*: it must be `));
    await expect(start([ReplicaLockModule.forRoot(options)])).rejects.toMatchObject({
      code: 'LOCK_OPTIONS',
      option,
      value,
    });
  });

  it('are checked, and a misspelt option gets the name that was meant', () => {
    expect(() => checkOptions({ connection: 'memory:', leasTime: '5s' } as never)).toThrow(
      /^There is no option 'leasTime': did you mean 'leaseTime'\?$/,
    );
    expect(() => checkOptions({ connection: 'memory:', ttl: 5 } as never)).toThrow(
      /^There is no option 'ttl': the options are connection, /,
    );
    expect(() => checkOptions(undefined as never)).toThrow(/an object with at least a connection/);
  });

  it('are filled with the defaults', () => {
    expect(
      checkOptions({ connection: 'redis://h', quarantine: '1h', waitTime: Infinity, keyPrefix: '{app}:' }),
    ).toEqual({
      defaults: {
        leaseTime: 15_000,
        waitTime: Infinity,
        renew: true,
        maxHoldTime: undefined,
        replicas: 'all',
        replicaTimeout: 1_000,
        shutdownTimeout: 10_000,
        quarantine: 3_600_000,
      },
      store: {
        connection: 'redis://h',
        keyPrefix: '{app}:',
        replicas: 'all',
        allowNoReplicas: false,
        quarantine: 3_600_000,
        replicaTimeout: 1_000,
        clockSkew: 1_000,
        allowEviction: false,
      },
    });
  });
});
