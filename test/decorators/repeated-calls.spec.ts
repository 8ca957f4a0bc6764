import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Body,
  type CallHandler,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Injectable,
  type NestInterceptor,
  Param,
  Put,
  UseInterceptors,
} from '@nestjs/common';
import { type AbstractHttpAdapter, APP_INTERCEPTOR, HttpAdapterHost } from '@nestjs/core';
import { defer, type Observable, of, repeat, retry } from 'rxjs';
import {
  CurrentLock,
  type Lock,
  LockService,
  ReplicaLocked,
  ReplicaLockInterceptor,
} from '../../lib/index.js';
import { startApp } from './apps.js';

@Injectable()
class Retry implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(retry(2));
  }
}

@Injectable()
class Twice implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(repeat(2));
  }
}

/** The keys that each try of a handler held. */
let tries: (readonly string[])[] = [];

@Controller()
class Flaky {
  constructor(private readonly locks: LockService) {}

  private attempt(lock: Lock): string {
    tries.push(this.locks.held.map(({ key }) => key));
    if (!lock.held) throw new Error('run without its lock');
    if (tries.length < 3) throw new Error('deadlock detected, try again');
    return lock.key;
  }

  @Get('inside/:id')
  @UseInterceptors(Retry)
  @ReplicaLocked('row:{params.id}', { waitTime: 0, reentrant: false })
  async inside(@CurrentLock() lock: Lock): Promise<string> {
    return this.attempt(lock);
  }

  @Get('outside/:id')
  @ReplicaLocked('row:{params.id}', { waitTime: 0, reentrant: false })
  @UseInterceptors(Retry)
  async outside(@CurrentLock() lock: Lock): Promise<string> {
    return this.attempt(lock);
  }

  @Get('argument/:id')
  @UseInterceptors(Retry)
  @ReplicaLocked('row:{0}', { waitTime: 0, reentrant: false })
  async byArgument(@Param('id') _id: string, @CurrentLock() lock: Lock): Promise<string> {
    return this.attempt(lock);
  }

  @Get('stream-by-argument/:id')
  @UseInterceptors(Retry)
  @ReplicaLocked('row:{0}', { waitTime: 0, reentrant: false })
  streamByArgument(@Param('id') _id: string, @CurrentLock() lock: Lock): Observable<string> {
    return defer(() => of(this.attempt(lock)));
  }

  @Get('synchronous/:id')
  @UseInterceptors(Retry)
  @ReplicaLocked('row:{params.id}', { waitTime: 0 })
  synchronous(@CurrentLock() lock: Lock): Promise<string> {
    // Throws synchronously, before there is a promise.
    return Promise.resolve(this.attempt(lock));
  }

  @Get('joined/:id')
  @ReplicaLocked('row:{params.id}', { waitTime: 0 })
  joined(@Param('id') id: string): Observable<number> {
    return this.stream(id);
  }

  @Get('joined-by-argument/:id')
  @ReplicaLocked('row:{0}', { waitTime: 0 })
  joinedByArgument(@Param('id') id: string): Observable<number> {
    return this.stream(id);
  }

  @ReplicaLocked('row:{0}', { waitTime: 0 })
  stream(_id: string): Observable<number> {
    return defer(() => of(this.locks.held.length));
  }

  @Get('repeated/:id')
  @UseInterceptors(Twice)
  @ReplicaLocked(['row:{params.id}', 'row:{0}'], { waitTime: 0, reentrant: false })
  async repeated(@Param('id') _id: string): Promise<number> {
    return tries.push(this.locks.held.map(({ key }) => key));
  }
}

describe('A handler that an interceptor calls again', () => {
  let app: INestApplication;
  let url: string;
  beforeAll(async () => ({ app, url } = await startApp({ controllers: [Flaky] })));
  afterAll(() => app.close());

  it.each(['inside', 'outside', 'argument', 'stream-by-argument', 'synchronous'])(
    'runs under its lock each time (%s)',
    async (path) => {
      tries = [];
      const response = await fetch(`${url}/${path}/1`);
      expect([response.status, await response.text()]).toEqual([200, 'row:1']);
      expect(tries).toEqual([['row:1'], ['row:1'], ['row:1']]);
      expect(app.get(LockService).held).toEqual([]);
    },
  );

  it.each(['joined', 'joined-by-argument'])(
    'lends its lock to a stream that it returns (%s)',
    async (path) => {
      const response = await fetch(`${url}/${path}/1`);
      expect([response.status, await response.text()]).toEqual([200, '1']);
      expect(app.get(LockService).held).toEqual([]);
    },
  );

  it('after a success takes the lock of its arguments again', async () => {
    tries = [];
    expect(await (await fetch(`${url}/repeated/1`)).text()).toBe('2');
    expect(tries).toEqual([['row:1'], ['row:1']]);
  });
});

/**
 * A request within the process, in the asynchronous context of the caller. Batch end points and
 * Fastify's `inject` make such requests.
 */
function dispatch(adapter: AbstractHttpAdapter, url: string): Promise<unknown> {
  const request = Object.assign(new IncomingMessage(new Socket()), { method: 'GET', url });
  const response = new ServerResponse(request);
  return new Promise((resolve) => {
    response.end = ((body: string) => {
      resolve(JSON.parse(body));
      return response;
    }) as never;
    adapter.getInstance<(from: IncomingMessage, to: ServerResponse) => void>()(request, response);
  });
}

@Controller('tree')
class Tree {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly locks: LockService,
  ) {}

  @Get('names/:id')
  @ReplicaLocked('node:{params.id}', { waitTime: 0 })
  async byName(@Param('id') id: string): Promise<object> {
    return this.walk('names', Number(id));
  }

  @Get('numbers/:id')
  @ReplicaLocked('node:{0}', { waitTime: 0 })
  async byNumber(@Param('id') id: string): Promise<object> {
    return this.walk('numbers', Number(id));
  }

  @Get('self/:id')
  @ReplicaLocked('node:{params.id}', { waitTime: 0 })
  async self(@Param('id') id: string): Promise<object> {
    const held = this.locks.held.map(({ key }) => key);
    return id === '0' ? { held } : { held, below: await this.self(String(Number(id) - 1)) };
  }

  private async walk(path: string, id: number): Promise<object> {
    const held = this.locks.held.map(({ key }) => key);
    if (id === 0) return { held };
    return { held, below: await dispatch(this.host.httpAdapter, `/tree/${path}/${id - 1}`) };
  }
}

describe.each([
  ['bound by its decorator', []],
  ['bound globally as well', [{ provide: APP_INTERCEPTOR, useClass: ReplicaLockInterceptor }]],
])('A handler that sends a request to itself for another key, with its interceptor %s', (_how, providers) => {
  let app: INestApplication;
  let url: string;
  beforeAll(async () => ({ app, url } = await startApp({ controllers: [Tree], providers })));
  afterAll(() => app.close());

  it.each(['names', 'numbers', 'self'])('takes the lock of that key as well (%s)', async (path) => {
    expect(await (await fetch(`${url}/tree/${path}/1`)).json()).toEqual({
      held: ['node:1'],
      below: { held: ['node:1', 'node:0'] },
    });
    expect(app.get(LockService).held).toEqual([]);
  });
});

@Injectable()
abstract class Base {
  constructor(protected readonly locks: LockService) {}

  @Put(':id')
  @ReplicaLocked('base:{params.id}', { waitTime: 0 })
  async update(@Param('id') _id: string): Promise<readonly string[]> {
    return this.locks.held.map(({ key }) => key);
  }

  @Put('body/:id')
  @ReplicaLocked('base:{params.id}', { waitTime: 0 })
  async replace(@Body() _body: object): Promise<readonly string[]> {
    return this.locks.held.map(({ key }) => key);
  }

  @Put('function/:id')
  @ReplicaLocked(
    (context: ExecutionContext) =>
      `base:${context.switchToHttp().getRequest<{ params: { id: string } }>().params.id}`,
  )
  async byFunction(@Body() _body: object): Promise<readonly string[]> {
    return this.locks.held.map(({ key }) => key);
  }
}

@Controller('plain')
class Plain extends Base {
  @Put(':id')
  override async update(@Param('id') id: string): Promise<readonly string[]> {
    return super.update(id);
  }

  @Put('body/:id')
  override async replace(@Body() body: object): Promise<readonly string[]> {
    return super.replace(body);
  }
}

@Controller('derived')
class Derived extends Base {
  @Put(':id')
  @ReplicaLocked('derived:{params.id}', { waitTime: 0 })
  override async update(@Param('id') id: string): Promise<readonly string[]> {
    return super.update(id);
  }

  @Put('body/:id')
  @ReplicaLocked('derived:{params.id}', { waitTime: 0 })
  override async replace(@Body() body: object): Promise<readonly string[]> {
    return super.replace(body);
  }

  @Put('function/:id')
  @ReplicaLocked('derived:{params.id}', { waitTime: 0 })
  override async byFunction(@Body() body: object): Promise<readonly string[]> {
    return super.byFunction(body);
  }
}

@Controller('same')
class Same extends Base {
  @Put(':id')
  @ReplicaLocked('base:{params.id}', { waitTime: 0 })
  override async update(@Param('id') id: string): Promise<readonly string[]> {
    return super.update(id);
  }
}

@Controller('inherited')
class Inherited extends Base {}

describe('A locked handler that a derived class', () => {
  let app: INestApplication;
  let url: string;
  const logged: unknown[] = [];
  beforeAll(async () => {
    const logger = { log() {}, warn() {}, error: (...parts: unknown[]) => void logged.push(...parts) };
    ({ app, url } = await startApp({ controllers: [Plain, Derived, Same, Inherited] }, { logger }));
  });
  afterAll(() => app.close());
  const put = (path: string): Promise<Response> => fetch(`${url}/${path}`, { method: 'PUT' });

  it.each([
    ['inherits', 'inherited/1', ['base:1']],
    ['overrides without a lock, and calls', 'plain/1', ['base:1']],
    ['overrides with another lock, and calls', 'derived/1', ['derived:1', 'base:1']],
    ['overrides with the same lock, and calls', 'same/1', ['base:1']],
    ['overrides, and calls without an argument for the key', 'derived/body/1', ['derived:1', 'base:1']],
    ['overrides, and calls with a key function', 'derived/function/1', ['derived:1', 'base:1']],
  ])('%s is locked', async (_what, path, keys) => {
    const response = await put(path);
    expect([response.status, await response.json()]).toEqual([200, keys]);
    expect(app.get(LockService).held).toEqual([]);
  });

  it('calls without a request is refused if no argument carries the key', async () => {
    expect((await put('plain/body/1')).status).toBe(500);
    expect(String(logged[0])).toMatch(/Plain\.replace|Base\.replace/);
  });
});
