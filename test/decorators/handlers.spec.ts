import { Readable } from 'node:stream';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  ArgumentsHost,
  Body,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  ForbiddenException,
  Get,
  Headers,
  HttpException,
  type INestApplication,
  Injectable,
  Param,
  ParseIntPipe,
  Post,
  Query,
  Sse,
  StreamableFile,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import { interval, map, Observable, of, throwError } from 'rxjs';
import { CurrentLock, type Lock, LockContendedError, LockService, ReplicaLocked } from '../../lib/index.js';
import { until } from '../support/eventually.js';
import { adapters, Gate, startApp, waitingCallers } from './apps.js';

const gates = new Map<string, Gate>();
function gate(name: string): Gate {
  const found = gates.get(name) ?? new Gate();
  gates.set(name, found);
  return found;
}

@Injectable()
class Refusing implements CanActivate {
  canActivate(): boolean {
    throw new ForbiddenException();
  }
}

@Injectable()
class AsAda implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    context.switchToHttp().getRequest<{ user?: unknown }>().user = { id: 'ada' };
    return true;
  }
}

const caught: unknown[] = [];
@Catch(HttpException)
class Remember implements ExceptionFilter {
  catch(exception: HttpException, host: ArgumentsHost): void {
    caught.push(exception.cause);
    const response = host
      .switchToHttp()
      .getResponse<{ status(code: number): { send(body: unknown): void } }>();
    response.status(418).send({});
  }
}

@Controller()
class Shop {
  calls = 0;
  constructor(private readonly locks: LockService) {}

  @Post('orders/:id/pay')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async pay(@Param('id') id: string, @CurrentLock() lock: Lock): Promise<object> {
    this.calls++;
    await gate(id).passed;
    return { key: lock.key, held: lock.held, isCurrent: this.locks.current(`order:${id}`) !== undefined };
  }

  // Above the route's own decorator.
  @ReplicaLocked('above:{params.id}')
  @Get('above/:id')
  async above(@Param('id', ParseIntPipe) id: number): Promise<object> {
    return { id, held: await this.locks.isLocked(`above:${id}`) };
  }

  @Post('places')
  @UseGuards(AsAda)
  @ReplicaLocked([
    'b:{body.item.id}',
    'q:{query.q}',
    'h:{headers.x-tenant}',
    'u:{user.id}',
    'ip:{ip}',
    '{{literal}}',
  ])
  async places(
    @Body() _body: object,
    @Query() _query: object,
    @Headers() _headers: object,
    @CurrentLock() lock: Lock,
  ): Promise<readonly string[]> {
    return lock.keys;
  }

  @Get('function/:id')
  @ReplicaLocked(
    (context: ExecutionContext) =>
      `f:${context.switchToHttp().getRequest<{ params: { id: string } }>().params.id}`,
  )
  async byFunction(@CurrentLock() lock: Lock): Promise<string> {
    return lock.key;
  }

  @Get('misspelt/:id')
  @ReplicaLocked('misspelt:{params.idd}')
  async misspelt(): Promise<void> {}

  @Get('guarded')
  @UseGuards(Refusing)
  @ReplicaLocked('guarded')
  async guarded(): Promise<void> {}

  @Get('throws')
  @ReplicaLocked('throws')
  async throws(): Promise<void> {
    throw new ForbiddenException('not you');
  }

  @Get('observable')
  @ReplicaLocked('observable')
  observable(): Observable<string> {
    return of('first', 'last');
  }

  @Get('observable-error')
  @ReplicaLocked('observable')
  observableError(): Observable<string> {
    return throwError(() => new ForbiddenException());
  }

  @Sse('sse')
  @ReplicaLocked('sse')
  sse(): Observable<{ data: number }> {
    return interval(5).pipe(map((data) => ({ data })));
  }

  @Get('file')
  @ReplicaLocked('file')
  async file(): Promise<StreamableFile> {
    return new StreamableFile(Readable.from(['one', 'two']));
  }

  @Get('endless')
  @ReplicaLocked('endless')
  async endless(): Promise<StreamableFile> {
    return new StreamableFile(
      new Readable({
        read(): void {
          setTimeout(() => this.push('x'.repeat(1_000)), 1);
        },
      }),
    );
  }

  @Get('lost')
  @ReplicaLocked('lost')
  async lost(@CurrentLock() lock: Lock): Promise<string> {
    await this.locks.forceRelease('lost');
    await until(() => !lock.held, { what: 'the loss is known' });
    return 'done';
  }

  @Get('nested')
  @ReplicaLocked('nested')
  async nested(): Promise<object> {
    return this.above(7);
  }

  @Get('self')
  @ReplicaLocked('self:{params.id}')
  async needsRequest(): Promise<void> {}

  @Get('direct')
  async direct(): Promise<void> {
    await this.needsRequest();
  }

  @Get('contended')
  @UseFilters(Remember)
  @ReplicaLocked('contended', { waitTime: 0 })
  async contended(): Promise<void> {}

  @Get('skipped')
  @ReplicaLocked('contended', { waitTime: 0, onContended: 'skip' })
  async skipped(): Promise<string> {
    return 'ran';
  }

  @Get('instead')
  @ReplicaLocked('contended', { waitTime: 0, onContended: (error) => `${error.code} instead` })
  async instead(): Promise<string> {
    return 'ran';
  }

  @Get('no-lock')
  async noLock(@CurrentLock() lock: Lock): Promise<string> {
    return lock.key;
  }
}

describe.each(adapters)('A locked handler on %s', (adapter) => {
  let app: INestApplication;
  const start = async (): Promise<{ url: string; locks: LockService; shop: Shop }> => {
    const started = await startApp({ controllers: [Shop] }, { adapter });
    app = started.app;
    return { url: started.url, locks: app.get(LockService), shop: app.get(Shop) };
  };
  afterEach(async () => {
    for (const each of gates.values()) each.open();
    gates.clear();
    await app.close();
  });

  it('runs one call at a time for each key, and answers the others with 409 and Retry-After', async () => {
    const { url, locks, shop } = await start();
    const first = fetch(`${url}/orders/7/pay`, { method: 'POST' });
    await until(() => locks.isLocked('order:7'), { what: 'the first is inside' });
    const second = await fetch(`${url}/orders/7/pay`, { method: 'POST' });
    expect(second.status).toBe(409);
    expect(Number(second.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    const body = await second.text();
    expect(JSON.parse(body)).toEqual({
      statusCode: 409,
      error: 'Conflict',
      code: 'LOCK_CONTENDED',
      message: expect.any(String),
    });
    expect(body).not.toContain('rl:');
    gate('8').open();
    expect((await fetch(`${url}/orders/8/pay`, { method: 'POST' })).status).toBe(201);
    gate('7').open();
    expect(await (await first).json()).toEqual({ key: 'order:7', held: true, isCurrent: true });
    expect(shop.calls).toBe(2);
    expect(locks.held).toEqual([]);
  });

  it('keeps its route and its pipes, whatever decorator stands above', async () => {
    const { url, locks } = await start();
    expect(await (await fetch(`${url}/above/5`)).json()).toEqual({ id: 5, held: true });
    expect((await fetch(`${url}/above/five`)).status).toBe(400);
    expect(locks.held).toEqual([]);
  });

  it('fills its key with encoded parts of the request', async () => {
    const { url } = await start();
    const response = await fetch(`${url}/places?q=${encodeURIComponent('a:b {c}/é')}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-tenant': 'acme' },
      body: JSON.stringify({ item: { id: 12 } }),
    });
    const keys = (await response.json()) as string[];
    expect(keys.slice(0, 4)).toEqual(['b:12', 'q:a%3Ab%20%7Bc%7D%2F%C3%A9', 'h:acme', 'u:ada']);
    expect(keys[4]).toMatch(/^ip:[\w.%]+$/);
    expect(keys[5]).toBe('{literal}');
  });

  it('answers 400 if the request lacks a part of the key, and names that part', async () => {
    const { url } = await start();
    for (const body of [
      {},
      { item: {} },
      { item: { id: '' } },
      { item: { id: {} } },
      { item: { id: null } },
      { item: { id: ['a'] } },
      { item: { id: 'x'.repeat(257) } },
    ]) {
      const response = await fetch(`${url}/places?q=1`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-tenant': 'acme' },
        body: JSON.stringify(body),
      });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({
        code: 'LOCK_KEY',
        message: expect.stringContaining('body.item.id'),
      });
    }
  });

  it('answers 500 if the route has no such parameter: the program is wrong, not the request', async () => {
    const logged: unknown[] = [];
    const logger = { log() {}, warn() {}, error: (...parts: unknown[]) => void logged.push(...parts) };
    const started = await startApp({ controllers: [Shop] }, { adapter, logger });
    app = started.app;
    expect((await fetch(`${started.url}/misspelt/5`)).status).toBe(500);
    expect(logged.map(String).join('\n')).toMatch(
      /of Shop\.misspelt was not taken: there is no \{params\.idd\}, the route has only \{params\.id\}/,
    );
  });

  it('takes its key from a function of the context', async () => {
    const { url } = await start();
    expect(await (await fetch(`${url}/function/9`)).text()).toBe('f:9');
  });

  it('takes no lock for a request that a guard refuses', async () => {
    const { url, locks } = await start();
    const held = await locks.acquire('guarded');
    expect((await fetch(`${url}/guarded`)).status).toBe(403);
    await held.release();
  });

  it('releases the lock after an error, and when its stream ends or fails', async () => {
    const { url, locks } = await start();
    expect((await fetch(`${url}/throws`)).status).toBe(403);
    expect(await (await fetch(`${url}/observable`)).text()).toBe('last');
    expect((await fetch(`${url}/observable-error`)).status).toBe(403);
    expect(locks.held).toEqual([]);
  });

  it('holds the lock while a client listens to its events', async () => {
    const { url, locks } = await start();
    const abort = new AbortController();
    const response = await fetch(`${url}/sse`, { signal: abort.signal });
    const reader = response.body!.getReader();
    await reader.read();
    expect(await locks.isLocked('sse')).toBe(true);
    abort.abort();
    await reader.read().catch(() => {});
    await until(async () => !(await locks.isLocked('sse')), { what: 'it is released' });
  });

  it('holds the lock until its file was sent or the client has left', async () => {
    const { url, locks } = await start();
    expect(await (await fetch(`${url}/file`)).text()).toBe('onetwo');
    await until(async () => !(await locks.isLocked('file')), { what: 'it is released' });
    const abort = new AbortController();
    const response = await fetch(`${url}/endless`, { signal: abort.signal });
    await response.body!.getReader().read();
    expect(await locks.isLocked('endless')).toBe(true);
    abort.abort();
    await until(async () => !(await locks.isLocked('endless')), { what: 'it is released' });
  });

  it('keeps the lock until its work ends, although the client has left', async () => {
    const { url, locks } = await start();
    const abort = new AbortController();
    const call = fetch(`${url}/orders/1/pay`, { method: 'POST', signal: abort.signal }).catch(() => {});
    await until(() => locks.isLocked('order:1'), { what: 'it is inside' });
    abort.abort();
    await call;
    expect(await locks.isLocked('order:1')).toBe(true);
    gate('1').open();
    await until(async () => !(await locks.isLocked('order:1')), { what: 'it is released' });
  });

  it('answers 503 if the lock is lost before the work ends, and says that the work may have been done', async () => {
    const { url } = await start();
    const response = await fetch(`${url}/lost`);
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBeNull();
    expect(await response.json()).toEqual({
      statusCode: 503,
      error: 'Service Unavailable',
      code: 'LOCK_LOST',
      message: expect.stringContaining('may or may not have been done'),
    });
  });

  it('locks the siblings that it calls by their arguments, and refuses a sibling if no argument carries its key', async () => {
    const { url } = await start();
    expect(await (await fetch(`${url}/nested`)).json()).toEqual({ id: 7, held: true });
    expect((await fetch(`${url}/direct`)).status).toBe(500);
  });

  it('gives the lock’s own error to filters and to onContended', async () => {
    const { url, locks } = await start();
    await locks.acquire('contended');
    caught.length = 0;
    expect((await fetch(`${url}/contended`)).status).toBe(418);
    expect(caught[0]).toBeInstanceOf(LockContendedError);
    const skipped = await fetch(`${url}/skipped`);
    expect([skipped.status, await skipped.text()]).toEqual([200, '']);
    expect(await (await fetch(`${url}/instead`)).text()).toBe('LOCK_CONTENDED instead');
  });

  it('is needed by @CurrentLock', async () => {
    const { url } = await start();
    expect((await fetch(`${url}/no-lock`)).status).toBe(500);
  });

  it('answers waiting requests with 503 at shutdown, and lets running work end', async () => {
    const { url, locks } = await start();
    const first = fetch(`${url}/orders/3/pay`, { method: 'POST' });
    await until(() => locks.isLocked('order:3'), { what: 'it is inside' });
    const outside = await locks.acquire('above:3');
    const waiting = fetch(`${url}/above/3`);
    await until(() => waitingCallers(locks) === 1, { what: 'one waits' });
    const closed = app.close();
    expect((await waiting).status).toBe(503);
    await outside.release();
    gate('3').open();
    expect((await first).status).toBe(201);
    await closed;
  });
});
