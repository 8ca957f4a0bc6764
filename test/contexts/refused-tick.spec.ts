import 'reflect-metadata';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { ConsoleLogger, Injectable, type INestApplicationContext, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Cron, CronExpression, Interval, ScheduleModule } from '@nestjs/schedule';
import { LockService, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { until } from '../support/eventually.js';
import { freePort } from '../support/ports.js';
import { startReplication } from '../support/replication.js';

const TICKS = 5;

/** An application with the default logger, and each line that Nest's scheduler has written. */
async function start(
  job: Type,
  connection: string,
): Promise<{ context: INestApplicationContext; lines: () => string[] }> {
  @Module({
    imports: [
      ScheduleModule.forRoot(),
      ReplicaLockModule.forRoot({ connection, quarantine: 0, replicaTimeout: 200, shutdownTimeout: 0 }),
    ],
    providers: [job],
  })
  class App {}
  let written = '';
  for (const stream of [process.stdout, process.stderr])
    jest.spyOn(stream, 'write').mockImplementation((text) => {
      written += String(text);
      return true;
    });
  const context = await NestFactory.createApplicationContext(App, {
    logger: new ConsoleLogger({ colors: false }),
  });
  const lines = (): string[] => {
    const all = written.split('\n');
    const first = all.findIndex((line) => line.includes('[Scheduler]'));
    // What follows the first line of the scheduler and is no line of a logger is a stack.
    return first < 0
      ? []
      : all.slice(first).filter((line) => !/^$|\[(?!Scheduler)\w+\] /.test(line.slice(8)));
  };
  return { context, lines };
}

describe('A tick of @nestjs/schedule that is refused', () => {
  let context: INestApplicationContext | undefined;
  afterEach(async () => {
    await context?.close();
    jest.restoreAllMocks();
  });

  class Job {
    tries = 0;
    protected ran(): void {
      throw new Error('it ran');
    }
  }
  @Injectable()
  class IntervalJob extends Job {
    @Interval(50)
    @ReplicaLocked('job', { waitTime: 0 })
    async run(): Promise<void> {
      this.ran();
    }
  }
  @Injectable()
  class CronJob extends Job {
    @Cron(CronExpression.EVERY_SECOND)
    @ReplicaLocked('job', { waitTime: 0 })
    async run(): Promise<void> {
      this.ran();
    }
  }

  it.each([
    ['@Interval', IntervalJob],
    ['@Cron', CronJob],
  ])('is one line in the log, if the lock is held: %s', async (_, job) => {
    await using servers = await startReplication({ replicas: 1 });
    const app = await start(job, servers.url);
    ({ context } = app);
    const holder = await context.get(LockService).acquire('job');
    await until(() => app.lines().length >= TICKS, { what: 'the ticks are refused', within: 10_000 });
    for (const line of app.lines().slice(0, TICKS))
      expect(line).toMatch(
        /ERROR \[Scheduler\] LockContendedError: Lock 'job' is held by rl:.* wait longer /,
      );
    await holder.release();
  });

  it.each([
    ['@Interval', IntervalJob],
    ['@Cron', CronJob],
  ])('is one line in the log, if there is no Redis: %s', async (_, job) => {
    const app = await start(job, `redis://127.0.0.1:${await freePort()}`);
    ({ context } = app);
    await until(() => app.lines().length >= TICKS, { what: 'the ticks are refused', within: 10_000 });
    for (const line of app.lines().slice(0, TICKS))
      expect(line).toMatch(/ERROR \[Scheduler\] LockUnavailableError: Lock 'job' could not be taken: /);
  });

  it('is one line in the log, if no replica confirms', async () => {
    await using servers = await startReplication({ replicas: 1 });
    const app = await start(IntervalJob, servers.url);
    ({ context } = app);
    await servers.replica(0).kill();
    await until(() => app.lines().length >= TICKS, { what: 'the ticks are refused', within: 10_000 });
    for (const line of app.lines().slice(0, TICKS))
      expect(line).toMatch(/ERROR \[Scheduler\] Lock(NotReplicated|Unavailable)Error: Lock 'job' /);
  });

  it('is logged with its stack, if the job itself failed', async () => {
    const app = await start(IntervalJob, 'memory:');
    ({ context } = app);
    await until(() => app.lines().length >= TICKS, { what: 'the failure is logged', within: 10_000 });
    expect(app.lines().slice(0, 2)).toEqual([
      expect.stringMatching(/ERROR \[Scheduler\] Error: it ran$/),
      expect.stringMatching(/^ {4}at /),
    ]);
  });
});
