import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Injectable,
  type NestInterceptor,
  Param,
  type PipeTransform,
  Post,
  RequestTimeoutException,
  Sse,
  UseInterceptors,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import {
  concatMap,
  firstValueFrom,
  from,
  interval,
  map,
  mergeMap,
  NEVER,
  type Observable,
  of,
  race,
  retry,
  Subject,
  take,
  takeUntil,
} from 'rxjs';
import { CurrentLock, type Lock, LockService, ReplicaLocked } from '../../lib/index.js';
import { until } from '../support/eventually.js';
import { type Adapter, adapters, free, Gates, Inside, leaveOnce, locked, startApp } from './apps.js';

const gates = new Gates();
const inside = new Inside();
const timeIsUp = new Subject<void>();

/** The TimeoutInterceptor of Nest's documentation. The test decides when the time is up. */
@Injectable()
class Timeout implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    const timeout = timeIsUp.pipe(
      map(() => {
        throw new RequestTimeoutException();
      }),
    );
    return next.handle().pipe(takeUntil(timeout));
  }
}

const patienceEnds = new Subject<void>();

/** Gives up a handler that takes too long, with a failure. */
@Injectable()
class GivingUp implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    const timeout = patienceEnds.pipe(
      map(() => {
        throw new RequestTimeoutException();
      }),
    );
    return next.handle().pipe(takeUntil(timeout));
  }
}

/** Answers with a value of its own if the handler takes too long. */
@Injectable()
class Substituting implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return race(next.handle(), patienceEnds.pipe(map(() => 'not yet'))).pipe(take(1));
  }
}

/** Gives up a try that takes too long, and starts another try. */
@Injectable()
class TryingAnew implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new GivingUp().intercept(context, next).pipe(retry(1));
  }
}

/** Does as `GivingUp` does, as a decorator of the method. */
function Impatient(): MethodDecorator {
  return (_target, _property, descriptor: PropertyDescriptor) => {
    const original = descriptor.value as (...args: unknown[]) => Promise<unknown>;
    const wrapped = function (this: unknown, ...args: unknown[]): Promise<unknown> {
      return Promise.race([original.apply(this, args), firstValueFrom(patienceEnds)]);
    };
    for (const key of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, original), wrapped);
    }
    descriptor.value = wrapped;
  };
}

/** Commits the handler's work, as an interceptor with a transaction does. */
@Injectable()
class Committing implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next
      .handle()
      .pipe(mergeMap((value: unknown) => from(gates.of('commit').passed).pipe(map(() => value))));
  }
}

/** Does the same as a decorator of the method. */
function Transactional(): MethodDecorator {
  return (_target, _property, descriptor: PropertyDescriptor) => {
    const original = descriptor.value as (...args: unknown[]) => Promise<unknown>;
    const wrapped = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
      const result = await original.apply(this, args);
      await gates.of('commit').passed;
      return result;
    };
    for (const key of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, original), wrapped);
    }
    descriptor.value = wrapped;
  };
}

@Injectable()
class TryingAgain implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(retry({ delay: () => gates.of('again').passed }));
  }
}

@Injectable()
class Silent implements NestInterceptor {
  intercept(): Observable<unknown> {
    return NEVER;
  }
}

class SlowPipe implements PipeTransform {
  async transform(value: string): Promise<string> {
    await gates.of('pipe').passed;
    return value;
  }
}

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
    const waiting = (): number => (locks as unknown as { waiting: { size: number } }).waiting.size;
    await until(() => waiting() === 1, { what: 'the request waits' });
    timeIsUp.next();
    expect((await first).status).toBe(408);
    expect(waiting()).toBe(0);
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
      await until(() => (locks as unknown as { waiting: { size: number } }).waiting.size === 1, {
        what: 'the request waits',
      });
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
