import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  type ExecutionContext,
  Get,
  Headers,
  type INestApplication,
  Injectable,
  Ip,
  Param,
  ParseIntPipe,
  Patch,
  Post,
  Query,
  UploadedFile,
  UseInterceptors,
} from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/internal';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { FileInterceptor } from '@nestjs/platform-express';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  CurrentLock,
  type Lock,
  LockKeyError,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
} from '../../lib/index.js';
import { LOCKED_METHOD, type LockedMethod } from '../../lib/decorators/locked-method.js';
import { adapters, free, Gates, Inside, locked, startApp } from './apps.js';

type Method = (...args: never[]) => unknown;
const request = {
  params: { id: '07' },
  query: { q: 'a b' },
  body: { item: { id: 5 } },
  headers: { 'x-tenant': 'acme' },
  user: { id: 'ada' },
  ip: '::1',
};

/** A decorated handler, and the context in which Nest would call the handler. */
function handlerOf(
  key: Parameters<typeof ReplicaLocked>[0],
  type: string,
  args: readonly unknown[],
  decorate?: MethodDecorator,
): { method: LockedMethod; context: ExecutionContext } {
  class Shop {
    async handle(..._args: unknown[]): Promise<void> {}
  }
  const descriptor = Object.getOwnPropertyDescriptor(Shop.prototype, 'handle')!;
  (ReplicaLocked(key) as MethodDecorator)(Shop.prototype, 'handle', descriptor);
  const handler = descriptor.value as Method;
  decorate?.(Shop.prototype, 'handle', descriptor);
  const context = new ExecutionContextHost([...args], Shop, handler);
  context.setType(type);
  return { method: Reflect.getMetadata(LOCKED_METHOD, handler) as LockedMethod, context };
}

const resolver =
  (type: string): MethodDecorator =>
  (_target, _property, { value }: PropertyDescriptor) =>
    Reflect.defineMetadata('graphql:resolver_type', type, value as object);
const http = ['http', [request, {}], Get()] as const;
const message = { id: 'm1' };
const field = [{ id: 'parent' }, { id: 'arg' }, { req: request }, {}];

describe('The keys of a handler before its call', () => {
  it.each([
    // A name is a part of the raw request, with the names of each context.
    ['order:{params.id}', ...http, 'order:07'],
    ['{query.q}:{body.item.id}', ...http, 'a%20b:5'],
    ['{headers.X-Tenant}:{user.id}:{ip}', ...http, 'acme:ada:%3A%3A1'],
    [['a:{params.id}', 'b'], ...http, ['a:07', 'b']],
    ['item:{args.id}', 'graphql', field, resolver('Query'), 'item:arg'],
    ['item:{args.id}:{params.id}', 'graphql', field, resolver('Item'), 'item:arg:07'],
    ['m:{data.id}', 'rpc', [message, {}], undefined, 'm:m1'],
    ['m:{data.id}:{user.id}', 'ws', [{ user: { id: 'ada' } }, message], undefined, 'm:m1:ada'],
    ['m:{data.id}', 'rmq', [message, {}], undefined, 'm:m1'],
    // ExternalContextCreator calls its contexts 'http' by default.
    ['m:{data.id}', 'http', [message], undefined, 'm:m1'],
    ['constant', 'rmq', [message], undefined, 'constant'],
    // Arguments, and a body that has not been read, are known only when the method is called.
    ['order:{0}', ...http, undefined],
    [['{params.id}', '{1.id}'], ...http, undefined],
    ['order:{body.id}', 'http', [{ params: {} }, {}], Post(), undefined],
    ['order:{body.id}', 'http', [{ body: {} }, {}], Post(), undefined],
  ] as const)('of %j in %s(%j)', (key, type, args, decorate, keys) => {
    const { method, context } = handlerOf(key, type, args, decorate);
    expect(method.keys.beforeCall(context)).toEqual(keys);
  });

  it.each([
    ['{params.idd}', ...http, false, /Shop\.handle.*the route has only \{params\.id\}/],
    ['{query.page}', ...http, true, /value for \{query\.page\} is undefined/],
    [
      '{data.id}',
      ...http,
      false,
      /there is no \{data\.id\} in a 'http' handler, only \{params\.\.\.\}.*\(\{0\}\)/,
    ],
    [
      '{params.id}',
      'rpc',
      [message],
      undefined,
      false,
      /there is no \{params\.id\} in a 'rpc' handler, only \{data/,
    ],
    ['{data.no}', 'rmq', [message], undefined, true, /value for \{data\.no\} is undefined/],
    ['{data.id}', 'rmq', [], undefined, true, /value for \{data\.id\} is undefined/],
  ] as const)('%s in %s(%j) are refused', (key, type, args, decorate, fromRequest, text) => {
    const { method, context } = handlerOf(key, type, args, decorate);
    expect(() => method.keys.beforeCall(context)).toThrow(text);
    expect(() => method.keys.beforeCall(context)).toThrow(expect.objectContaining({ fromRequest }));
  });
});

describe('A key function', () => {
  const given: unknown[][] = [];
  const key = (...args: unknown[]): string => {
    given.push(args);
    return 'key';
  };
  it.each([
    [...http, true],
    ['ws', [{}, message], undefined, true],
    ['rpc', [message], undefined, true],
    ['graphql', field, resolver('Mutation'), true],
    ['graphql', field, resolver('Subscription'), true],
    ['graphql', field, resolver('Item'), false],
    ['http', [message], undefined, false],
    ['rmq', [message, {}], undefined, false],
    ['bull', [message], undefined, false],
  ] as const)('gets the context or the arguments in %s(%j)', (type, args, decorate, hasContext) => {
    given.length = 0;
    const { method, context } = handlerOf(key, type, args, decorate);
    expect(method.keys.beforeCall(context) ?? method.keys.ofCall([message, 5], context)).toBe('key');
    expect(given).toEqual([hasContext ? [context] : [message, 5]]);
  });

  it.each([
    [(m: { id: string }) => m.id, undefined, /returned undefined/],
    [() => '', '', /returned an empty string/],
    [() => [], '', /returned an empty array/],
    [() => ['a', undefined], '', /returned an array of a string, undefined/],
    [() => 5, '', /returned a number/],
    [async () => 'a', '', /returned a Promise/],
    [
      (m: { id: string }) => m.id.trim(),
      undefined,
      /failed: Cannot read properties of undefined \(reading 'trim'\)/,
    ],
  ])(
    'that fails or returns no key is named in the error, with the types of its arguments (%s)',
    (bad, _shown, text) => {
      const { method, context } = handlerOf(bad as () => string, ...http);
      expect(() => method.keys.beforeCall(context)).toThrow(LockKeyError);
      expect(() => method.keys.beforeCall(context)).toThrow(text);
      expect(() => method.keys.beforeCall(context)).toThrow(
        /key function of Shop\.handle.*called with the ExecutionContext of a 'http' handler\.$/,
      );
      const other = handlerOf(bad as () => string, 'rmq', [{}]);
      expect(() => other.method.keys.ofCall([{ secret: 1 }, null, 'b'], other.context)).toThrow(
        /called with the method's own arguments \(an object, null, a string\)\.$/,
      );
    },
  );

  it('may throw an error of its own', () => {
    const own = new Error('not this one');
    const { method, context } = handlerOf(
      () => {
        throw own;
      },
      ...http,
    );
    expect(() => method.keys.beforeCall(context)).toThrow(own);
  });
});

describe('The keys of a call', () => {
  class Shop {
    async all(
      @Param('id') _id: string,
      @Body('item') _item: object,
      @Query() _query: object,
      @Headers('X-Tenant') _tenant: string,
      @Ip() _ip: string,
    ): Promise<void> {}
    @MessagePattern('m')
    async message(@Payload() _message: object): Promise<void> {}
    async none(_id: string): Promise<void> {}
  }
  const args = ['7', { id: 5 }, { q: 'x' }, 'acme', '::1'];
  const keysOf = (key: string, name: keyof Shop, given: unknown[], context?: ExecutionContext): unknown => {
    const descriptor = { value: async (): Promise<void> => {} };
    (ReplicaLocked(key) as MethodDecorator)(Shop.prototype, name, descriptor as never);
    return (Reflect.getMetadata(LOCKED_METHOD, descriptor.value) as LockedMethod).keys.ofCall(given, context);
  };

  it.each([
    ['order:{0}:{1.id}', 'all', 'order:7:5'],
    // Without a request the decorators say which argument carries a name.
    ['{params.id}:{body.item.id}:{query.q}:{headers.x-tenant}:{ip}', 'all', '7:5:x:acme:%3A%3A1'],
    ['{data.id}', 'message', 'm'],
    ['{0.id}', 'message', 'm'],
  ] as const)('of %s as a plain method', (key, name, keys) => {
    expect(keysOf(key, name, name === 'message' ? [{ id: 'm' }] : args)).toBe(keys);
  });

  it.each([
    ['{params.id}', 'none', /Shop\.none.*called as a plain method.*which of its arguments is \{params\.id\}/],
    ['{params.other}', 'all', /which of its arguments is \{params\.other\}/],
    ['{user.id}', 'all', /which of its arguments is \{user\.id\}/],
  ] as const)('of %s are refused if no argument carries it', (key, name, text) => {
    expect(() => keysOf(key, name, args)).toThrow(text);
  });

  it('of a handler are the caller’s fault if the request decides the value', () => {
    const context = new ExecutionContextHost([request, {}], Shop, Shop.prototype.all);
    const fault = (fromRequest: boolean): unknown => expect.objectContaining({ fromRequest });
    expect(() => keysOf('{1.no}', 'all', args, context)).toThrow(fault(true));
    expect(() => keysOf('{4.no}', 'all', args, context)).toThrow(fault(false));
    expect(() => keysOf('{1.no}', 'all', args)).toThrow(fault(false));
  });
});

const gates = new Gates();
const inside = new Inside();

@Controller()
class Rows {
  @Patch('row/:id')
  @ReplicaLocked('row:{0}')
  async byArgument(@Param('id', ParseIntPipe) id: number, @CurrentLock() lock: Lock): Promise<object> {
    await inside.during(gates.of(String(id)).passed);
    return { id, key: lock.key };
  }

  @Patch('both/:id')
  @ReplicaLocked(['raw:{params.id}', 'row:{params.id}:{0}'])
  async both(@Param('id', ParseIntPipe) _id: number, @CurrentLock() lock: Lock): Promise<readonly string[]> {
    return lock.keys;
  }

  @Patch('raw/:id')
  @ReplicaLocked('row:{params.id}')
  async raw(@Param('id', ParseIntPipe) _id: number, @CurrentLock() lock: Lock): Promise<string> {
    return lock.key;
  }

  @Post('needs')
  @ReplicaLocked('row:{0.id}')
  async needs(@Body() _body: object): Promise<void> {}
}

describe.each(adapters)('A number is the handler’s own argument, after its pipes, on %s', (adapter) => {
  let app: INestApplication;
  let url: string;
  beforeAll(async () => ({ app, url } = await startApp({ controllers: [Rows] }, { adapter })));
  afterAll(() => app.close());
  const patch = (path: string): Promise<Response> => fetch(`${url}/${path}`, { method: 'PATCH' });

  it('so that /1 and /01 are one key after ParseIntPipe', async () => {
    inside.reset();
    const calls = ['row/1', 'row/01', 'row/1'].map(patch);
    await locked(app.get(LockService), 'row:1');
    gates.of('1').open();
    for (const call of calls) expect(await (await call).json()).toEqual({ id: 1, key: 'row:1' });
    expect(inside.most).toBe(1);
    expect(app.get(LockService).held).toEqual([]);
    gates.openAll();
  });

  it('beside names, which are parts of the raw request', async () => {
    expect(await (await patch('both/01')).json()).toEqual(['raw:01', 'row:01:1']);
    expect(await (await patch('raw/01')).text()).toBe('row:01');
  });

  it('so that a request that a pipe refuses takes no lock', async () => {
    const held = await app.get(LockService).acquire('row:1');
    expect((await patch('row/one')).status).toBe(400);
    await held.release();
  });

  it('and a request that lacks the value is answered with 400', async () => {
    const response = await fetch(`${url}/needs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect([response.status, await response.json()]).toEqual([
      400,
      expect.objectContaining({ code: 'LOCK_KEY' }),
    ]);
  });
});

@Controller()
class Uploads {
  constructor(private readonly locks: LockService) {}

  @Post('above')
  @UseInterceptors(FileInterceptor('file'))
  @ReplicaLocked('doc:{body.id}')
  async above(@CurrentLock() lock: Lock): Promise<string> {
    return lock.key;
  }

  @Post('below')
  @ReplicaLocked('doc:{body.id}')
  @UseInterceptors(FileInterceptor('file'))
  async below(@CurrentLock() lock: Lock): Promise<string> {
    return lock.key;
  }

  @Post('file')
  @UseInterceptors(FileInterceptor('file'))
  @ReplicaLocked('file:{0.originalname}')
  async file(@UploadedFile() _file: object, @CurrentLock() lock: Lock): Promise<string> {
    return lock.key;
  }

  @Post('whole')
  @UseInterceptors(FileInterceptor('file'))
  @ReplicaLocked('upload')
  async whole(): Promise<number> {
    return this.locks.held.length;
  }
}

describe('An upload', () => {
  let app: INestApplication;
  let url: string;
  beforeAll(async () => ({ app, url } = await startApp({ controllers: [Uploads] })));
  afterAll(() => app.close());

  it.each([
    ['above', 'doc:7'],
    ['below', 'doc:7'],
    ['file', 'file:a.txt'],
    ['whole', '1'],
  ])('finds its key in a form that an interceptor reads (%s)', async (path, answer) => {
    const form = new FormData();
    form.set('id', '7');
    form.set('file', new Blob(['x']), 'a.txt');
    const response = await fetch(`${url}/${path}`, { method: 'POST', body: form });
    expect([response.status, await response.text()]).toEqual([201, answer]);
    expect(app.get(LockService).held).toEqual([]);
  });

  it('lacks the key if the form lacks it', async () => {
    const form = new FormData();
    form.set('file', new Blob(['x']), 'a.txt');
    const response = await fetch(`${url}/above`, { method: 'POST', body: form });
    expect([response.status, await response.json()]).toEqual([
      400,
      expect.objectContaining({ code: 'LOCK_KEY' }),
    ]);
  });

  it('that is aborted releases the lock', async () => {
    const client = new AbortController();
    const unfinished = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('--b\r\n')),
    });
    const call = fetch(`${url}/whole`, {
      method: 'POST',
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
      body: unfinished,
      signal: client.signal,
      duplex: 'half',
    } as RequestInit).catch(() => {});
    await locked(app.get(LockService), 'upload');
    client.abort();
    await call;
    await free(app.get(LockService), 'upload');
  });
});

@Injectable()
class Consumer {
  constructor(private readonly locks: LockService) {}

  @ReplicaLocked('order:{0.id}')
  async byArgument(_message: object): Promise<string | undefined> {
    return this.locks.current()?.key;
  }

  @ReplicaLocked('order:{data.id}')
  async byName(_message: object): Promise<string | undefined> {
    return this.locks.current()?.key;
  }

  @ReplicaLocked(({ id }: { id: string }) => `order:${id}`)
  async byFunction(_message: { id: string }): Promise<string | undefined> {
    return this.locks.current()?.key;
  }

  @ReplicaLocked((context: ExecutionContext) => context.getType())
  async wrongFunction(_message: object): Promise<void> {}

  @ReplicaLocked('jobs', { waitTime: 0 })
  async constant(_message: object): Promise<string | undefined> {
    return this.locks.current()?.key;
  }
}

describe.each(['rmq', undefined])('A method that a library calls with enhancers, in a context %s', (type) => {
  let module: TestingModule;
  const call = (name: keyof Consumer): Promise<unknown> => {
    const consumer = module.get(Consumer);
    const external = module.get(ExternalContextCreator, { strict: false });
    const handler = external.create(
      consumer,
      consumer[name] as never,
      name,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      type as never,
    );
    return (handler as unknown as (...args: unknown[]) => Promise<unknown>)({ id: '7' }, { fields: {} });
  };
  beforeAll(async () => {
    module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
      providers: [Consumer],
    }).compile();
    module.useLogger(false);
    await module.init();
  });
  afterAll(() => module.close());

  it.each([
    ['byArgument', 'order:7'],
    ['byName', 'order:7'],
    ['byFunction', 'order:7'],
    ['constant', 'jobs'],
  ] as const)('finds its key in its message (%s)', async (name, key) => {
    expect(await call(name)).toBe(key);
  });

  it('rejects with the lock’s own error', async () => {
    await module.get(LockService).acquire('jobs');
    await expect(call('constant')).rejects.toMatchObject({ code: 'LOCK_CONTENDED' });
    await expect(call('wrongFunction')).rejects.toThrow(
      /key function of Consumer\.wrongFunction failed: .*called with the method's own arguments \(an object, an object\)/,
    );
  });
});
