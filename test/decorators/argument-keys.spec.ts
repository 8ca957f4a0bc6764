import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  Param,
  ParseIntPipe,
  Patch,
  Post,
  UploadedFile,
  UseInterceptors,
} from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import { FileInterceptor } from '@nestjs/platform-express';
import { Test, type TestingModule } from '@nestjs/testing';
import { CurrentLock, type Lock, LockService, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { adapters, free, Gates, Inside, locked, startApp } from './apps.js';

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
