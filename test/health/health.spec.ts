import 'reflect-metadata';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import { LockService, ReplicaLockModule } from '../../lib/index.js';
import { type ReplicaLockHealthDetails, ReplicaLockHealthIndicator } from '../../lib/health/index.js';
import { until } from '../support/eventually.js';
import { startReplication } from '../support/replication.js';

@Controller('health')
class Health {
  constructor(
    private readonly health: HealthCheckService,
    private readonly locks: ReplicaLockHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  ready(): unknown {
    return this.health.check([() => this.locks.isHealthy('locks')]);
  }

  @Get('strict')
  @HealthCheck()
  strict(): unknown {
    return this.health.check([() => this.locks.isHealthy('locks', { degradedIsDown: true })]);
  }

  @Get('payments')
  @HealthCheck()
  payments(): unknown {
    return this.health.check([() => this.locks.isHealthy('payments', { name: 'payments' })]);
  }
}

let app: INestApplication;
afterEach(() => app.close());

interface Answer {
  readonly code: number;
  readonly status: string;
  readonly details: Readonly<Record<'locks' | 'payments', { status: string } & ReplicaLockHealthDetails>>;
}

async function start(url: string): Promise<(path?: string) => Promise<Answer>> {
  const module = await Test.createTestingModule({
    imports: [
      ReplicaLockModule.forRoot({ connection: url, quarantine: 0, shutdownTimeout: 0 }),
      ReplicaLockModule.forRoot({ name: 'payments', connection: 'memory:' }),
      TerminusModule.forRoot({ logger: false }),
    ],
    controllers: [Health],
    providers: [ReplicaLockHealthIndicator],
  }).compile();
  app = module.createNestApplication({ logger: false, forceCloseConnections: true });
  await app.listen(0, '127.0.0.1');
  const origin = await app.getUrl();
  return async (path = '') => {
    const response = await fetch(`${origin}/health${path}`);
    return { code: response.status, ...((await response.json()) as Omit<Answer, 'code'>) };
  };
}

describe('The health indicator', () => {
  it('reports the master, its replicas and the locks of this process, and tells degraded from down', async () => {
    await using servers = await startReplication({ replicas: 2 });
    const ask = await start(servers.url);
    const locks = app.get(LockService);
    await locks.acquire('k');
    const lost = await locks.acquire('lost');
    await locks.forceRelease('lost');
    await until(() => !lost.held, { what: 'the loss is known' });
    await until(async () => (await ask()).details.locks.masters[0]?.replicas.confirming === 2, {
      what: 'all is seen',
    });
    expect(await ask()).toMatchObject({
      code: 200,
      status: 'ok',
      details: {
        locks: {
          status: 'up',
          locks: 'up',
          held: 1,
          lost: 1,
          masters: [
            {
              address: servers.master.address,
              connected: true,
              replicas: { known: 2, connected: 2, confirming: 2, lag: expect.any(Number) },
              quarantine: 0,
              tracking: true,
            },
          ],
        },
      },
    });
    await servers.replica(0).stop();
    await until(async () => (await ask()).details.locks.locks === 'degraded', {
      what: 'the silence of one is noticed',
      within: 10_000,
    });
    expect(await ask()).toMatchObject({
      details: { locks: { masters: [{ replicas: { known: 2, connected: 2, confirming: 1 } }] } },
    });
    await Promise.all(servers.replicas.map((replica) => replica.kill()));
    await until(async () => (await ask()).details.locks.masters[0]?.replicas.connected === 0, {
      what: 'both are gone',
    });
    expect(await ask()).toMatchObject({
      code: 200,
      details: {
        locks: {
          status: 'degraded',
          masters: [{ reason: expect.stringContaining('0 of 2 known replicas answer') }],
        },
      },
    });
    expect(await ask('/strict')).toMatchObject({
      code: 503,
      details: { locks: { status: 'down', locks: 'degraded' } },
    });
    await servers.master.kill();
    await until(async () => (await ask()).code === 503, { what: 'it is down' });
    expect(await ask()).toMatchObject({
      details: { locks: { status: 'down', masters: [{ connected: false }] } },
    });
    expect(await ask('/payments')).toMatchObject({
      code: 200,
      details: { payments: { status: 'up', masters: [] } },
    });
  });

  it('reports `up` with the details if Terminus does not know `degraded`', async () => {
    const check = (): object => ({ up: (data: object) => ({ locks: { status: 'up', ...data } }) });
    const service = { health: () => ({ status: 'degraded', held: 0, lost: 0, masters: [] }) };
    const indicator = new ReplicaLockHealthIndicator({ check } as never, { get: () => service } as never);
    app = { close: async () => {} } as INestApplication;
    expect(indicator.isHealthy('locks')).toEqual({
      locks: { status: 'up', locks: 'degraded', held: 0, lost: 0, masters: [] },
    });
  });
});
