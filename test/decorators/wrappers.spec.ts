import { AsyncResource } from 'node:async_hooks';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import {
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Param,
  Post,
  Sse,
} from '@nestjs/common';
import * as routerExecutionContext from '@nestjs/core/router/router-execution-context.js';
import { NestInstrumentation } from '@opentelemetry/instrumentation-nestjs-core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { map, type Observable, of } from 'rxjs';
import { CurrentLock, type Lock, LockService, ReplicaLocked } from '../../lib/index.js';
import { until } from '../support/eventually.js';
import { adapters, Gates, startApp } from './apps.js';

/** Replaces the method with a new function, as `@Span`, `@Transactional` and similar ones do. */
function wrapping(copiesMetadata: boolean, run = (call: () => unknown) => call()): MethodDecorator {
  return (_target, _property, descriptor: PropertyDescriptor) => {
    const original = descriptor.value as (...args: unknown[]) => unknown;
    const wrapped = function (this: unknown, ...args: unknown[]): unknown {
      return run(() => original.apply(this, args));
    };
    for (const key of copiesMetadata ? Reflect.getMetadataKeys(original) : []) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, original), wrapped);
    }
    descriptor.value = wrapped;
  };
}

/** The calls that wait in the queue of `@Queued`, which runs one call at a time. */
const queue: (() => Promise<void>)[] = [];
let isBusy = false;
async function runNext(): Promise<void> {
  const call = isBusy ? undefined : queue.shift();
  if (call === undefined) return;
  isBusy = true;
  await call();
  isBusy = false;
  void runNext();
}

/** Queues a call, and runs the call in the asynchronous context of its caller. */
function enqueue(call: () => unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const run = async (): Promise<void> => {
      try {
        resolve(await call());
      } catch (error) {
        reject(error as Error);
      }
    };
    queue.push(AsyncResource.bind(run));
    void runNext();
  });
}

const Span = (): MethodDecorator => wrapping(true);
const Queued = (): MethodDecorator => wrapping(true, enqueue);
const Lossy = (): MethodDecorator => wrapping(false);
const keyFunction = jest.fn((context: ExecutionContext) => {
  const { params } = context.switchToHttp().getRequest<{ params: { id: string } }>();
  return `function:${params.id}`;
});

const gates = new Gates();

interface Seen {
  key: string | undefined;
  times: number;
}

@Controller()
class Shop {
  constructor(private readonly locks: LockService) {}

  private seen(): Seen {
    return { key: this.locks.current()?.key, times: this.locks.held.length };
  }

  @Post('above/:id')
  @Span()
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async above(@Param('id') _id: string, @CurrentLock() lock: Lock): Promise<Seen> {
    return { ...this.seen(), key: lock.key };
  }

  @Post('below/:id')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  @Span()
  async below(@Param('id') _id: string, @CurrentLock() lock: Lock): Promise<Seen> {
    return { ...this.seen(), key: lock.key };
  }

  @Post('around/:id')
  @Span()
  @Span()
  @ReplicaLocked('order:{0}', { waitTime: 0, reentrant: false })
  @Span()
  async around(@Param('id') _id: string, @CurrentLock() lock: Lock): Promise<Seen> {
    return { ...this.seen(), key: lock.key };
  }

  @Post('not-reentrant/:id')
  @Span()
  @ReplicaLocked('constant', { waitTime: 0, reentrant: false })
  async notReentrant(): Promise<Seen> {
    return this.seen();
  }

  @Post('function/:id')
  @Span()
  @ReplicaLocked(keyFunction, { waitTime: 0 })
  async byFunction(): Promise<Seen> {
    return this.seen();
  }

  @Sse('events/:id')
  @Span()
  @ReplicaLocked(keyFunction, { waitTime: 0 })
  async events(): Promise<Observable<{ data: Seen }>> {
    return of({ data: this.seen() });
  }

  @Post('skipping/:id')
  @Span()
  @ReplicaLocked('order:{params.id}', { waitTime: 0, onContended: 'skip' })
  async skipping(): Promise<Seen> {
    return this.seen();
  }

  @Post('stream/:id')
  @Span()
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  stream(): Observable<Seen> {
    return of(0).pipe(map(() => this.seen()));
  }

  @Post('lossy/:id')
  @Lossy()
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  async lossy(@Param('id') _id: string): Promise<Seen> {
    return this.seen();
  }

  @Post('lossy-below/:id')
  @ReplicaLocked('order:{params.id}', { waitTime: 0 })
  @Lossy()
  async lossyBelow(@Param('id') _id: string, @CurrentLock() lock: Lock): Promise<Seen> {
    return { ...this.seen(), key: lock.key };
  }

  @Post('queued/:id')
  @Queued()
  @ReplicaLocked('order:{params.id}:{0}')
  async queued(@Param('id') id: string): Promise<string | undefined> {
    await gates.of(id).passed;
    return this.locks.current()?.key;
  }

  @Get('lossy-without-argument/:id')
  @Lossy()
  @ReplicaLocked('order:{params.id}')
  async lossyWithoutArgument(): Promise<void> {}

  @Get('lossy-current/:id')
  @Lossy()
  @ReplicaLocked('constant')
  async lossyCurrent(@CurrentLock() _lock: Lock): Promise<void> {}
}

const oneLock = {
  above: 'order:7',
  below: 'order:7',
  around: 'order:7',
  'not-reentrant': 'constant',
  function: 'function:7',
  skipping: 'order:7',
  stream: 'order:7',
  lossy: 'order:7',
  'lossy-below': 'order:7',
};

describe.each(adapters)('A wrapper above or below @ReplicaLocked on %s', (adapter) => {
  const logged: unknown[] = [];
  let app: INestApplication;
  let url: string;
  beforeAll(async () => {
    const logger = { log() {}, warn() {}, error: (...parts: unknown[]) => void logged.push(...parts) };
    ({ app, url } = await startApp({ controllers: [Shop] }, { adapter, logger }));
  });
  afterAll(() => app.close());

  it.each(Object.entries(oneLock))('leaves the handler locked exactly once (%s)', async (path, key) => {
    keyFunction.mockClear();
    const locks = app.get(LockService);
    const take = jest.spyOn(locks as unknown as { take(): void }, 'take');
    const response = await fetch(`${url}/${path}/7`, { method: 'POST' });
    expect([response.status, await response.json()]).toEqual([201, { key, times: 1 }]);
    expect(take).toHaveBeenCalledTimes(1);
    take.mockRestore();
    expect(keyFunction).toHaveBeenCalledTimes(path === 'function' ? 1 : 0);
    expect(locks.held).toEqual([]);
    const held = await locks.acquire(key);
    const again = await fetch(`${url}/${path}/7`, { method: 'POST' });
    if (path === 'skipping') expect([again.status, await again.text()]).toEqual([201, '']);
    else expect(again.status).toBe(409);
    await held.release();
  });

  it('asks a key function once for a stream of events', async () => {
    keyFunction.mockClear();
    expect(await (await fetch(`${url}/events/7`)).text()).toContain('{"key":"function:7","times":1}');
    expect(keyFunction).toHaveBeenCalledTimes(1);
  });

  it('may queue calls if each call runs in the asynchronous context of its caller', async () => {
    const call = async (id: string): Promise<string> =>
      (await fetch(`${url}/queued/${id}`, { method: 'POST' })).text();
    const first = call('1');
    await until(() => isBusy, { what: 'the first call runs' });
    const second = call('2');
    await until(() => queue.length === 1, { what: 'the second call waits' });
    gates.of('1').open();
    gates.of('2').open();
    expect(await Promise.all([first, second])).toEqual(['order:1:1', 'order:2:2']);
    gates.openAll();
  });

  it('is named in the error if it loses the metadata that a handler needs', async () => {
    logged.length = 0;
    expect((await fetch(`${url}/lossy-without-argument/7`)).status).toBe(500);
    expect((await fetch(`${url}/lossy-current/7`)).status).toBe(500);
    expect(logged.map(String).join('\n')).toMatch(
      /order:\{params\.id\}' of Shop\.lossyWithoutArgument.*no decorator says which[\s\S]*lost its metadata\. Put @ReplicaLocked on top/,
    );
  });
});

describe('OpenTelemetry’s instrumentation of Nest', () => {
  const spans = new InMemorySpanExporter();
  const patch = new NestInstrumentation({ enabled: false });
  const [, file] = patch.init().files;
  beforeAll(() => {
    patch.setTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }));
    // The hook of the instrumentation does not reach ES modules in a test: the test calls the
    // patch.
    file!.patch(routerExecutionContext, '12');
  });
  afterAll(() => file!.unpatch(routerExecutionContext, '12'));

  it.each(adapters)('leaves a handler locked exactly once (%s)', async (adapter) => {
    const { app, url } = await startApp({ controllers: [Shop] }, { adapter });
    const enter = jest.spyOn(app.get(LockService) as unknown as { take(): void }, 'take');
    for (const [path, key] of Object.entries(oneLock)) {
      spans.reset();
      enter.mockClear();
      const response = await fetch(`${url}/${path}/7`, { method: 'POST' });
      expect([path, response.status, await response.json()]).toEqual([path, 201, { key, times: 1 }]);
      expect(enter).toHaveBeenCalledTimes(1);
      expect(spans.getFinishedSpans().length).toBeGreaterThan(1);
    }
    await app.close();
  });
});
