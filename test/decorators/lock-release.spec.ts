import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, type INestApplication, Param, Post, Sse, UseInterceptors } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { concatMap, interval, map, type Observable, of } from 'rxjs';
import { CurrentLock, type Lock, LockService, ReplicaLocked } from '../../lib/index.js';
import { until } from '../support/eventually.js';
import { type Adapter, adapters, free, Inside, leaveOnce, locked, startApp, waitingCallers } from './apps.js';
import {
  gates,
  timeIsUp,
  Timeout,
  patienceEnds,
  GivingUp,
  Substituting,
  TryingAnew,
  Impatient,
  Committing,
  Transactional,
  TryingAgain,
  Silent,
  SlowPipe,
} from './interceptors.js';

const inside = new Inside();
const atEnd: { held: boolean; aborted: boolean }[] = [];

@Controller()
class Orders {
  constructor(private readonly locks: LockService) {}

  @Post(':id/pay')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async pay(@Param('id') id: string, @CurrentLock() lock: Lock): Promise<void> {
    await inside.during(gates.of(id).passed);
    atEnd.push({ held: lock.held, aborted: lock.signal.aborted });
  }

  @Post(':id/argument')
  @ReplicaLocked('order:{0}', { waitTime: 0 })
  async byArgument(@Param('id') id: string, @CurrentLock() lock: Lock): Promise<void> {
    await this.pay(id, lock);
  }

  @Post(':id/committed')
  @UseInterceptors(Committing)
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async committed(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/transactional')
  @Transactional()
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async transactional(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/given-up')
  @UseInterceptors(GivingUp)
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async givenUp(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/given-up-by-argument')
  @UseInterceptors(GivingUp)
  @ReplicaLocked('order:{0}', { waitTime: 0 })
  async givenUpByArgument(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/substituted')
  @UseInterceptors(Substituting)
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async substituted(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/impatient')
  @Impatient()
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async impatient(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/anew')
  @UseInterceptors(TryingAnew)
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async anew(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/slow-pipe')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async slowPipe(@Param('id', SlowPipe) id: string, @CurrentLock() lock: Lock): Promise<void> {
    await this.pay(id, lock);
  }

  @Post(':id/again')
  @UseInterceptors(TryingAgain)
  @ReplicaLocked('order:{params.id}')
  async again(): Promise<void> {
    await inside.during(Promise.reject(new Error('not this time')));
  }

  @Post(':id/silent')
  @UseInterceptors(Silent)
  @ReplicaLocked('order:{params.id}')
  async silent(): Promise<void> {}

  @Post(':id/waits')
  @ReplicaLocked('order:{params.id}', { waitTime: '1m' })
  async waits(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Post(':id/waits-by-argument')
  @ReplicaLocked('order:{0}', { waitTime: '1m' })
  async waitsByArgument(@Param('id') id: string): Promise<void> {
    await inside.during(gates.of(id).passed);
  }

  @Get(':id/stream')
  @ReplicaLocked('order:{params.id}')
  stream(@Param('id') id: string): Observable<unknown> {
    return of(1, 2).pipe(concatMap(() => inside.during(gates.of(id).passed)));
  }

  @Sse(':id/set-up')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async setUp(@Param('id') id: string): Promise<Observable<object>> {
    await inside.during(gates.of(id).passed);
    return interval(1).pipe(map((data) => ({ data })));
  }

  @Sse(':id/set-up-by-argument')
  @ReplicaLocked('order:{0}', { waitTime: 0 })
  async setUpByArgument(@Param('id') id: string): Promise<Observable<object>> {
    return this.setUp(id);
  }
}

describe.each(adapters)('The lock of a handler on %s outlives its subscriber', (adapter: Adapter) => {
  let app: INestApplication;
  let url: string;
  let locks: LockService;

  const start = async (): Promise<void> => {
    inside.reset();
    atEnd.length = 0;
    ({ app, url } = await startApp(
      { controllers: [Orders], providers: [{ provide: APP_INTERCEPTOR, useClass: Timeout }] },
      { adapter },
    ));
    locks = app.get(LockService);
  };
  const post = (path: string): Promise<Response> => fetch(`${url}/${path}`, { method: 'POST' });
  const entered = (): Promise<true> => until(() => inside.now === 1, { what: 'the handler runs' });
  afterEach(async () => {
    gates.openAll();
    await app.close();
  });

  it.each(['pay', 'argument'])('until the promise settles, after a timeout (%s)', async (path) => {
    await start();
    const first = post(`1/${path}`);
    await entered();
    timeIsUp.next();
    expect((await first).status).toBe(408);
    expect(await locks.isLocked('order:1')).toBe(true);
    expect((await post(`1/${path}`)).status).toBe(409);
    gates.of('1').open();
    await free(locks, 'order:1');
    expect([inside.runs, inside.most]).toEqual([1, 1]);
    expect(atEnd).toEqual([{ held: true, aborted: false }]);
  });

  it.each([
    ['an interceptor', 'given-up', 408],
    ['an interceptor', 'given-up-by-argument', 408],
    ['an interceptor that answers something else', 'substituted', 201],
    ['a decorator', 'impatient', 201],
  ])(
    'until the promise settles, if %s within the lock has stopped waiting (%s)',
    async (_what, path, status) => {
      await start();
      const first = post(`1/${path}`);
      await entered();
      patienceEnds.next();
      expect((await first).status).toBe(status);
      expect((await post(`1/${path}`)).status).toBe(409);
      gates.of('1').open();
      await free(locks, 'order:1');
      expect([inside.runs, inside.most]).toEqual([1, 1]);
    },
  );

  it('and the handler is not called again within the lock before the promise has settled', async () => {
    await start();
    const first = post('1/anew');
    await entered();
    patienceEnds.next();
    // By now the pipes have run, and a second call would have begun.
    expect((await post('1/pay')).status).toBe(409);
    expect([inside.runs, inside.most]).toEqual([1, 1]);
    gates.of('1').open();
    expect((await first).status).toBe(201);
    expect([inside.runs, inside.most]).toEqual([2, 1]);
    await free(locks, 'order:1');
  });

  it('until interceptors below have ended their work on the result', async () => {
    await start();
    const first = post('1/committed');
    await entered();
    timeIsUp.next();
    await first;
    gates.of('1').open();
    await until(() => inside.now === 0, { what: 'the handler has ended' });
    expect((await post('1/committed')).status).toBe(409);
    gates.of('commit').open();
    await free(locks, 'order:1');
  });

  it('until decorators above have ended their work on the result', async () => {
    await start();
    const first = post('1/transactional');
    await entered();
    timeIsUp.next();
    await first;
    gates.of('1').open();
    await until(() => inside.now === 0, { what: 'the handler has ended' });
    expect((await post('1/transactional')).status).toBe(409);
    gates.of('commit').open();
    await free(locks, 'order:1');
  });

  it('or the handler takes the lock again, if the subscriber left before the pipes had ended', async () => {
    await start();
    const first = post('1/slow-pipe');
    await locked(locks, 'order:1');
    timeIsUp.next();
    expect((await first).status).toBe(408);
    gates.of('pipe').open();
    await entered();
    expect((await post('1/pay')).status).toBe(409);
    gates.of('1').open();
    await free(locks, 'order:1');
    expect(atEnd).toEqual([{ held: true, aborted: false }]);
  });

  it('but no failed handler is tried again for a client that has left', async () => {
    await start();
    const first = post('1/again');
    await until(() => inside.runs === 1, { what: 'the handler has failed' });
    timeIsUp.next();
    await first;
    gates.of('again').open();
    await free(locks, 'order:1');
    expect(inside.runs).toBe(1);
  });

  it('but the lock is released if no handler runs', async () => {
    await start();
    const first = post('1/silent');
    await locked(locks, 'order:1');
    timeIsUp.next();
    await first;
    await free(locks, 'order:1');
  });

  it.each(['waits', 'waits-by-argument'])('but a wait for the lock ends at once (%s)', async (path) => {
    await start();
    const held = await locks.acquire('order:1');
    const first = post(`1/${path}`);
    await until(() => waitingCallers(locks) === 1, { what: 'the request waits' });
    timeIsUp.next();
    expect((await first).status).toBe(408);
    expect(waitingCallers(locks)).toBe(0);
    await held.release();
    expect(await locks.isLocked('order:1')).toBe(false);
    expect(inside.runs).toBe(0);
  });

  it.each(['waits', 'waits-by-argument'])(
    'but a grant that comes too late is given back (%s)',
    async (path) => {
      await start();
      // The grant is on its way when the wait ends.
      const enter = locks.enter.bind(locks);
      jest.spyOn(locks, 'enter').mockImplementation((keys, options) => enter(keys, options));
      const held = await locks.acquire('order:1');
      const first = post(`1/${path}`);
      await until(() => waitingCallers(locks) === 1, { what: 'the request waits' });
      timeIsUp.next();
      expect((await first).status).toBe(408);
      await held.release();
      await free(locks, 'order:1');
      expect(inside.runs).toBe(0);
    },
  );

  it('but the lock of an Observable is released when the client leaves', async () => {
    await start();
    await leaveOnce(`${url}/1/stream`, entered);
    await free(locks, 'order:1');
  });

  it.each(['set-up', 'set-up-by-argument'])(
    'while a stream of events is set up whose client has left (%s)',
    async (path) => {
      await start();
      await leaveOnce(`${url}/1/${path}`, entered);
      expect(await locks.isLocked('order:1')).toBe(true);
      gates.of('1').open();
      await free(locks, 'order:1');
      expect(inside.most).toBe(1);
      // Without a client nothing subscribes to the events. With a client the lock covers the
      // events.
      const client = new AbortController();
      const response = await fetch(`${url}/1/${path}`, { signal: client.signal });
      const reader = response.body!.getReader();
      await reader.read();
      expect(await locks.isLocked('order:1')).toBe(true);
      client.abort();
      await reader.read().catch(() => {});
      await free(locks, 'order:1');
    },
  );
});
