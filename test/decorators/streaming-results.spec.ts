import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Injectable,
  type NestInterceptor,
  Param,
  StreamableFile,
  UseInterceptors,
} from '@nestjs/common';
import { map, mergeMap, type Observable, of } from 'rxjs';
import { LockService, ReplicaLocked } from '../../lib/index.js';
import { adapters, free, Gates, leaveOnce, locked, startApp } from './apps.js';

const gates = new Gates();
let locks: LockService;
/** Whether the key was locked at each part, and at the end of the producer. */
let heldAt: boolean[] = [];

/** Produces five parts. The test decides when the last parts come. */
async function* produce(key: string): AsyncGenerator<string> {
  const look = (): void => void heldAt.push(locks.held.some((lock) => lock.key === key));
  try {
    for (let i = 0; i < 5; i++) {
      if (i === 2) await gates.of('more').passed;
      look();
      yield `part ${i}\n`;
    }
  } finally {
    await gates.of('end').passed;
    look();
  }
}

/** The same parts from a stream that produces without being asked. */
const stream = (key: string): Readable => Readable.from(produce(key));
const webStream = (key: string): ReadableStream => Readable.toWeb(stream(key)) as unknown as ReadableStream;

@Injectable()
class Replacing implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      map(() => {
        context.switchToHttp().getResponse<{ status(code: number): void }>().status(304);
        return undefined;
      }),
    );
  }
}

@Injectable()
class Late implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(mergeMap((value: unknown) => gates.of('late').passed.then(() => value)));
  }
}

@Controller()
class Bodies {
  @Get('file/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async file(@Param('id') id: string): Promise<StreamableFile> {
    return new StreamableFile(stream(`body:${id}`));
  }

  @Get('file-by-argument/:id')
  @ReplicaLocked('body:{0}', { waitTime: 0 })
  async fileByArgument(@Param('id') id: string): Promise<StreamableFile> {
    return new StreamableFile(stream(`body:${id}`));
  }

  @Get('stream/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async stream(@Param('id') id: string): Promise<Readable> {
    return stream(`body:${id}`);
  }

  @Get('generator/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async *generator(@Param('id') id: string): AsyncGenerator<string> {
    yield* produce(`body:${id}`);
  }

  @Get('generator-by-argument/:id')
  @ReplicaLocked('body:{0}', { waitTime: 0 })
  async *generatorByArgument(@Param('id') id: string): AsyncGenerator<string> {
    yield* produce(`body:${id}`);
  }

  @Get('iterable/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async iterable(@Param('id') id: string): Promise<AsyncIterable<string>> {
    return { [Symbol.asyncIterator]: () => produce(`body:${id}`) };
  }

  @Get('iterable-by-argument/:id')
  @ReplicaLocked('body:{0}', { waitTime: 0 })
  async iterableByArgument(@Param('id') id: string): Promise<AsyncIterable<string>> {
    return this.iterable(id);
  }

  @Get('observable/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  observable(@Param('id') id: string): Observable<AsyncIterable<string>> {
    return of(produce(`body:${id}`));
  }

  @Get('web-stream/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async webStream(@Param('id') id: string): Promise<ReadableStream> {
    return webStream(`body:${id}`);
  }

  @Get('response/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async response(@Param('id') id: string): Promise<Response> {
    return new Response(webStream(`body:${id}`), { headers: { 'x-own': 'kept' } });
  }

  @Get('nested/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async nested(@Param('id') id: string): Promise<AsyncIterable<string>> {
    return (async function* () {
      yield await locks.withLock(`body:${id}`, { waitTime: 0 }, () => 'joined');
    })();
  }

  @Get('failing/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async failing(): Promise<AsyncIterable<string>> {
    // oxlint-disable-next-line require-yield -- the subject of the test
    return (async function* () {
      throw new Error('nothing to send');
    })();
  }

  @Get('replaced/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  @UseInterceptors(Replacing)
  async replaced(@Param('id') id: string): Promise<AsyncIterable<string>> {
    return produce(`body:${id}`);
  }

  @Get('replaced-inside/:id')
  @UseInterceptors(Replacing)
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async replacedInside(@Param('id') id: string): Promise<ReadableStream> {
    return webStream(`body:${id}`);
  }

  @Get('late/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  @UseInterceptors(Late)
  async late(@Param('id') id: string): Promise<AsyncIterable<string>> {
    return produce(`body:${id}`);
  }

  @Get('slow/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async slow(@Param('id') id: string): Promise<Response> {
    await gates.of('slow').passed;
    return this.response(id);
  }

  @Get('empty/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async empty(): Promise<Response> {
    return new Response(null, { status: 204 });
  }

  @Get('buffer/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async buffer(): Promise<StreamableFile> {
    return new StreamableFile(Buffer.from('a file'));
  }

  @Get('missing/:id')
  @ReplicaLocked('body:{params.id}', { waitTime: 0 })
  async missing(): Promise<StreamableFile> {
    return new StreamableFile(
      new Readable({
        read(): void {
          this.destroy(new Error('no such file'));
        },
      }),
    );
  }
}

const kinds = [
  'file',
  'file-by-argument',
  'stream',
  'generator',
  'generator-by-argument',
  'iterable',
  'iterable-by-argument',
  'observable',
  'web-stream',
  'response',
];

describe.each(adapters)('The lock of a handler on %s with a streaming result', (adapter) => {
  let app: INestApplication;
  let url: string;
  let id = 0;
  let key: string;
  beforeAll(async () => {
    ({ app, url } = await startApp({ controllers: [Bodies] }, { adapter }));
    locks = app.get(LockService);
  });
  beforeEach(() => {
    gates.openAll();
    heldAt = [];
    key = `body:${++id}`;
  });
  afterAll(async () => {
    gates.openAll();
    await app.close();
  });

  it.each(kinds)('is held until the last part was produced (%s)', async (path) => {
    const call = fetch(`${url}/${path}/${id}`).then((response) => response.text());
    await locked(locks, key);
    const again = await fetch(`${url}/${path}/${id}`);
    // A generator takes the lock with the first step, when Nest has begun the response already.
    if (!path.startsWith('generator-by')) expect(again.status).toBe(409);
    gates.of('more').open();
    gates.of('end').open();
    expect(await call).toBe('part 0\npart 1\npart 2\npart 3\npart 4\n');
    await free(locks, key);
    expect(heldAt).toEqual([true, true, true, true, true, true]);
  });

  it.each(kinds)('is held until the producer has stopped, if the client leaves (%s)', async (path) => {
    await leaveOnce(`${url}/${path}/${id}`, () => locked(locks, key));
    expect(await locks.isLocked(key)).toBe(true);
    gates.of('more').open();
    gates.of('end').open();
    await free(locks, key);
    expect(new Set(heldAt)).toEqual(new Set([true]));
  });

  it.each(kinds)('is released for a request without a response body (%s)', async (path) => {
    gates.of('more').open();
    gates.of('end').open();
    expect((await fetch(`${url}/${path}/${id}`, { method: 'HEAD' })).status).toBe(200);
    await free(locks, key);
  });

  it.each([
    ['replaced', 304],
    ['replaced-inside', 304],
    ['empty', 204],
    ['buffer', 200],
    ['missing', undefined],
    ['failing', 500],
  ])('is released if another response is sent (%s)', async (path, status) => {
    gates.of('more').open();
    gates.of('end').open();
    const response = await fetch(`${url}/${path}/${id}`).catch(() => undefined);
    // Each adapter answers in its own way if a file cannot be read.
    if (status !== undefined) expect(response?.status).toBe(status);
    await response?.text();
    await free(locks, key);
  });

  it.each(['slow', 'late'])(
    'is given back if the client leaves before there is a body (%s)',
    async (path) => {
      await leaveOnce(`${url}/${path}/${id}`, () => locked(locks, key));
      for (const name of ['slow', 'late', 'more', 'end']) gates.of(name).open();
      await free(locks, key);
    },
  );

  it('is joined by the locks that the production of the result takes', async () => {
    expect(await (await fetch(`${url}/nested/${id}`)).text()).toBe('joined');
  });

  it('leaves the properties of a Response unchanged', async () => {
    gates.of('more').open();
    gates.of('end').open();
    const response = await fetch(`${url}/response/${id}`);
    expect([response.status, response.headers.get('x-own')]).toEqual([200, 'kept']);
    await response.text();
  });
});
