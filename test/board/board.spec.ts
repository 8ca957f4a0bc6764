import 'reflect-metadata';
import {
  type CallHandler,
  Catch,
  Controller,
  Get,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  Module,
  ValidationPipe,
  VersioningType,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { once, type EventEmitter } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { jest } from '@jest/globals';
import { map } from 'rxjs';
import type { BoardEvent, BoardLocks, BoardState } from '../../lib/board/board-model.js';
import { BoardFeed } from '../../lib/board/board-feed.js';
import { ReplicaLockBoardModule } from '../../lib/board/index.js';
import { ReplicaLockModule, type ReplicaLockModuleOptions } from '../../lib/index.js';
import { adapters } from '../decorators/apps.js';
import { until } from '../support/eventually.js';
import { startRedis } from '../support/redis-process.js';
import { startReplication } from '../support/replication.js';
import { everyone, startBoard, type BoardApp } from './apps.js';
import { connect, EventReader } from './event-source.js';

const FILES = ['', '/app.js', '/board.js', '/board.css', '/icon.svg'];
const REQUESTS = [...FILES, '/api/events', '/api/lock?key=a', '/api/locks'];

/** A guard with a dependency of a module that is not global. */
@Injectable()
class Operators {
  readonly password = 'secret';
}
@Module({ providers: [Operators], exports: [Operators] })
class OperatorsModule {}
@Injectable()
class OperatorGuard implements CanActivate {
  constructor(private readonly operators: Operators) {}

  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    return headers['authorization'] === this.operators.password;
  }
}

const body = <T>(response: Response): Promise<T> => response.json() as Promise<T>;

function release(url: string, data: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}/api/release`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-replica-lock-board': 'release', ...headers },
    body: JSON.stringify(data),
  });
}

/** The status for a request with this Host. */
async function statusFor(host: string, url: string): Promise<number | undefined> {
  const asking = request(url, { headers: { host }, agent: false }).end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  asking.destroy();
  return response.statusCode;
}

function isHeard({ locks }: BoardApp): boolean {
  return (locks as unknown as { listeners: { isHeard: boolean } }).listeners.isHeard;
}

describe.each(adapters)('The lock board on %s', (adapter) => {
  describe('without guards', () => {
    it('refuses every request with 403 and says why, in the answer and in the log', async () => {
      const logger = { log: jest.fn(), warn: jest.fn(), error: jest.fn() };
      await using board = await startBoard({ adapter, board: {}, logger });
      for (const path of REQUESTS) {
        const response = await fetch(board.url + path);
        expect([path, response.status]).toEqual([path, 403]);
        expect((await body<{ message: string }>(response)).message).toMatch(
          /has no guards.*NODE_ENV=development/,
        );
      }
      expect((await release(board.url, { key: 'a', confirmation: 'a' })).status).toBe(403);
      expect(logger.warn).toHaveBeenCalledWith(
        expect.stringMatching(/board 'locks' refuses everyone with 403/),
        'ReplicaLock',
      );
    });

    it('lets everyone in during development, and warns of that', async () => {
      const before = process.env['NODE_ENV'];
      process.env['NODE_ENV'] = 'development';
      try {
        const logger = { log: jest.fn(), warn: jest.fn(), error: jest.fn() };
        await using board = await startBoard({ adapter, board: {}, logger });
        for (const path of FILES) expect((await fetch(board.url + path)).status).toBe(200);
        expect(logger.warn).toHaveBeenCalledWith(expect.stringMatching(/open to everyone/), 'ReplicaLock');
      } finally {
        process.env['NODE_ENV'] = before;
      }
    });
  });

  it('shows nothing during development to a site that leads its own name here', async () => {
    const before = process.env['NODE_ENV'];
    process.env['NODE_ENV'] = 'development';
    try {
      await using board = await startBoard({ adapter, board: { allowForceRelease: true } });
      await using guarded = await startBoard({ adapter });
      for (const path of REQUESTS) expect(await statusFor('evil.example', board.url + path)).toBe(403);
      expect(await statusFor('localhost:3000', `${board.url}/api/lock?key=a`)).toBe(200);
      expect(await statusFor('shop.example', `${guarded.url}/api/lock?key=a`)).toBe(200);
    } finally {
      process.env['NODE_ENV'] = before;
    }
  });

  it('asks the guards for every request, with their dependencies', async () => {
    await using board = await startBoard({
      adapter,
      board: { guards: [OperatorGuard], imports: [OperatorsModule], path: 'ops/locks' },
      path: '/ops/locks',
    });
    for (const path of REQUESTS) expect((await fetch(board.url + path)).status).toBe(403);
    for (const path of FILES)
      expect((await fetch(board.url + path, { headers: { authorization: 'secret' } })).status).toBe(200);
  });

  it('forbids scripts of its HTML, frames, sniffing and caches in every answer', async () => {
    for (const guards of [undefined, [everyone]]) {
      await using board = await startBoard({ adapter, board: { guards } });
      for (const path of REQUESTS) {
        const { headers } = await connect(board.url + path);
        const policy = String(headers['content-security-policy']);
        expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/);
        expect(policy).toContain("frame-ancestors 'none'");
        expect(policy).not.toMatch(/unsafe|\*|https?:/);
        expect(headers).toMatchObject({
          'x-content-type-options': 'nosniff',
          'referrer-policy': 'no-referrer',
          'cross-origin-resource-policy': 'same-origin',
          'cache-control': expect.stringMatching(/^no-store/),
        });
      }
    }
  });

  it('has a page of at most 30 KiB with all its files, and nothing inline or from elsewhere', async () => {
    await using board = await startBoard({ adapter });
    let size = 0;
    for (const path of FILES) {
      const response = await fetch(board.url + path);
      expect(response.status).toBe(200);
      const text = await response.text();
      size += Buffer.byteLength(text);
      expect(text).not.toMatch(/https?:(?!\/\/www\.w3\.org\/2000\/svg)/);
      expect(text).not.toMatch(
        /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function/,
      );
    }
    expect(size).toBeLessThanOrEqual(30 * 1024);
    const html = await (await fetch(board.url)).text();
    expect(html).not.toMatch(/<style|style=|\son\w+=|<script(?![^>]* src=)/);
    expect(html).toContain('src="./locks/app.js"');
  });

  const events = async (url: string): Promise<EventReader> => EventReader.open(`${url}/api/events`);

  it('sends the state of the process and the events of its locks', async () => {
    await using board = await startBoard({ adapter });
    const order = await board.locks.acquire('order:1');
    const waiting = board.locks.acquire('order:1', { waitTime: '1m' });
    board.locks.elect('scheduler');
    const reader = await events(board.url);
    const state = await reader.message<BoardState>(
      'state',
      ({ elections }) => elections.first[0]?.isLeader === true,
    );
    expect(state).toMatchObject({
      status: 'up',
      lost: 0,
      masters: [],
      held: { total: 2, first: [{ keys: ['order:1'], limit: 1, fencingToken: order.fencingToken }, {}] },
      waiting: { total: 1, first: [{ key: 'order:1', callers: 1 }] },
      allowForceRelease: false,
    });
    await order.release();
    await reader.message<BoardEvent[]>('news', (news) => news.some(({ what }) => what === 'released'));
    await reader.message<BoardEvent[]>('news', (news) => news.some(({ what }) => what === 'acquired'));
    await reader.message<BoardEvent[]>('news', (news) => news.some(({ what }) => what === 'elected'));
    reader.close();
    await (await waiting).release();
  });

  it('listens to the events of locks only while a page is open', async () => {
    await using board = await startBoard({ adapter });
    expect(isHeard(board)).toBe(false);
    const [one, other] = [await events(board.url), await events(board.url)];
    await other.message('state');
    expect(isHeard(board)).toBe(true);
    one.close();
    other.close();
    await until(() => !isHeard(board), { what: 'nobody listens any more' });
    const again = await events(board.url);
    await again.message('state');
    expect(isHeard(board)).toBe(true);
    again.close();
  });

  it('listens to nothing for a page that left while a guard was asked', async () => {
    const slow = {
      async canActivate(context: ExecutionContext): Promise<boolean> {
        const response = context.switchToHttp().getResponse<EventEmitter & { raw?: EventEmitter }>();
        const hasLeft = once(response.raw ?? response, 'close');
        client.destroy();
        await hasLeft;
        return true;
      },
    };
    await using board = await startBoard({ adapter, board: { guards: [slow] } });
    const open = jest.spyOn(board.app.get(BoardFeed, { strict: false }), 'open');
    const client = request(`${board.url}/api/events`, { agent: false }).on('error', () => {});
    client.end();
    await until(() => open.mock.results[0]?.type === 'return', { what: 'the request has arrived' });
    expect(isHeard(board)).toBe(false);
  });

  it('answers HEAD for the events without a stream', async () => {
    await using board = await startBoard({ adapter });
    const response = await fetch(`${board.url}/api/events`, { method: 'HEAD' });
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      expect.stringMatching(/^text\/event-stream/),
    ]);
    expect(await response.text()).toBe('');
    expect(isHeard(board)).toBe(false);
  });

  it('has no server error for a whole address with a host that cannot be parsed', async () => {
    await using board = await startBoard({ adapter });
    const asking = request(board.url, { path: 'http://x:99999/locks', agent: false }).end();
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    asking.destroy();
    expect(response.statusCode).toBe(adapter === 'express' ? 200 : 400);
  });

  it('ends the open pages when the application shuts down, and does not delay its end', async () => {
    const board = await startBoard({ adapter });
    const reader = await events(board.url);
    await reader.message('state');
    await board.app.close();
    await until(() => reader.hasEnded, { what: 'the stream has ended' });
    expect(isHeard(board)).toBe(false);
  });

  it('lists the locks of all processes in pages, and only when asked', async () => {
    await using board = await startBoard({ adapter });
    const list = jest.spyOn(board.locks, 'listPage' as never) as unknown as jest.Mock;
    await Promise.all(Array.from({ length: 7 }, (_, i) => board.locks.acquire(`order:${i}`)));
    await board.locks.acquire('other');
    const reader = await events(board.url);
    await reader.message('state');
    reader.close();
    for (const path of FILES) await fetch(board.url + path);
    expect(list).not.toHaveBeenCalled();
    const { locks } = await body<BoardLocks>(await fetch(`${board.url}/api/locks?match=order:*`));
    expect(locks.map(({ keys }) => keys[0]).toSorted()).toEqual(
      Array.from({ length: 7 }, (_, i) => `order:${i}`),
    );
    list.mockImplementationOnce(() => Promise.resolve({ locks: [], cursor: 'next' }));
    expect(await body(await fetch(`${board.url}/api/locks`))).toEqual({ locks: [], cursor: 'next' });
    expect((await fetch(`${board.url}/api/locks?match=`)).status).toBe(400);
  });

  it('finds a key whatever its characters are, and does not show a kept result', async () => {
    await using board = await startBoard({ adapter });
    for (const key of ['<b>&"\'', 'a b+c%20?#/..', '\u202Ekey\0\n', 'emoji 🔒', '__proto__']) {
      const lock = await board.locks.acquire(key);
      const { locks } = await body<BoardLocks>(
        await fetch(`${board.url}/api/lock?key=${encodeURIComponent(key)}`),
      );
      expect(locks).toMatchObject([{ keys: [key], owner: lock.owner, holders: 1 }]);
    }
    await board.locks.once('invoice', { keepFor: '1h' }, () => ({ card: 4711 }));
    const response = await fetch(`${board.url}/api/lock?key=invoice`);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ locks: [{ keys: ['invoice'], isKept: true }] });
    expect(text).not.toContain('4711');
    expect((await fetch(`${board.url}/api/lock?key=`)).status).toBe(400);
    expect((await fetch(`${board.url}/api/lock?key=${'x'.repeat(2000)}`)).status).toBe(400);
  });

  describe('asked to take a key away', () => {
    const asked = { key: 'order:1', confirmation: 'order:1' };

    it('refuses unless that is allowed', async () => {
      await using board = await startBoard({ adapter });
      const lock = await board.locks.acquire('order:1');
      const response = await release(board.url, asked);
      expect(response.status).toBe(403);
      expect((await body<{ message: string }>(response)).message).toContain('allowForceRelease: true');
      expect(lock.held).toBe(true);
    });

    it('takes the key from all holders, or from one', async () => {
      await using board = await startBoard({
        adapter,
        board: { guards: [everyone], allowForceRelease: true },
      });
      const [one, other] = await Promise.all([1, 2].map(() => board.locks.acquire('order:1', { limit: 5 })));
      expect(await body(await release(board.url, { ...asked, owner: one!.owner }))).toEqual({
        wasHeld: true,
      });
      await until(() => one!.signal.aborted, { what: 'the holder is told' });
      expect(other!.held).toBe(true);
      expect(await body(await release(board.url, asked))).toEqual({ wasHeld: true });
      await until(() => other!.signal.aborted, { what: 'the holder is told' });
      expect(await body(await release(board.url, asked))).toEqual({ wasHeld: false });
    });

    it('refuses a request of another site, or without its own header', async () => {
      await using board = await startBoard({
        adapter,
        board: { guards: [everyone], allowForceRelease: true },
        configure: (app) => app.enableCors({ origin: true, credentials: true }),
      });
      const lock = await board.locks.acquire('order:1');
      const refused: Record<string, string>[] = [
        { 'x-replica-lock-board': '' },
        { 'x-replica-lock-board': 'yes' },
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'same-site' },
        { origin: 'https://evil.example' },
        { origin: 'null' },
      ];
      for (const headers of refused) expect((await release(board.url, asked, headers)).status).toBe(403);
      for (const path of ['/api/events', '/api/lock?key=order:1', '/api/locks'])
        expect((await fetch(board.url + path, { headers: { origin: 'https://evil.example' } })).status).toBe(
          403,
        );
      expect(lock.held).toBe(true);
      expect((await release(board.url, asked, { origin: new URL(board.url).origin })).status).toBe(200);
    });

    it.each<[string, unknown]>([
      ['the key is not confirmed', { key: 'order:1' }],
      ['another key is confirmed', { key: 'order:1', confirmation: 'order:2' }],
      ['the key is no text', { key: ['order:1'], confirmation: ['order:1'] }],
      ['the owner is no text', { ...asked, owner: {} }],
      ['the owner is empty', { ...asked, owner: '' }],
      ['the body is a list', [asked]],
    ])('refuses if %s', async (_, data) => {
      await using board = await startBoard({
        adapter,
        board: { guards: [everyone], allowForceRelease: true },
      });
      const lock = await board.locks.acquire('order:1');
      expect((await release(board.url, data)).status).toBe(400);
      expect(lock.held).toBe(true);
    });
  });

  describe('in an application that changes answers', () => {
    @Catch()
    class OwnErrors implements ExceptionFilter {
      constructor(private readonly http: HttpAdapterHost) {}
      catch(error: { getStatus?: () => number; message: string }, host: ArgumentsHost): void {
        const response: unknown = host.switchToHttp().getResponse();
        const status = error.getStatus?.() ?? 500;
        this.http.httpAdapter.reply(response, { problem: error.message }, status);
      }
    }
    const configure = (app: INestApplication): void => {
      app.setGlobalPrefix('api');
      app.enableVersioning({ type: VersioningType.URI, defaultVersion: '1' });
      app.useGlobalPipes(
        new ValidationPipe({
          whitelist: true,
          forbidNonWhitelisted: true,
          forbidUnknownValues: true,
          transform: true,
        }),
      );
      app.useGlobalInterceptors({
        intercept: (_context: ExecutionContext, next: CallHandler) =>
          next.handle().pipe(map((data: unknown) => ({ data }))),
      });
      app.useGlobalFilters(new OwnErrors(app.get(HttpAdapterHost)));
    };

    it('answers as always: behind the prefix, beside the versions, without wrappers', async () => {
      await using board = await startBoard({
        adapter,
        configure,
        path: '/api/locks',
        board: { guards: [everyone], allowForceRelease: true },
      });
      const html = await fetch(board.url);
      expect(html.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(await html.text()).toMatch(/^<!doctype html>/);
      expect((await fetch(`${board.url}/app.js`)).headers.get('content-type')).toMatch(/^text\/javascript/);
      await board.locks.acquire('order:1');
      const found = await body<BoardLocks>(await fetch(`${board.url}/api/lock?key=order:1`));
      expect(found.locks).toMatchObject([{ keys: ['order:1'] }]);
      const reader = await events(board.url);
      expect(await reader.message<BoardState>('state')).toMatchObject({ status: 'up' });
      reader.close();
      const answer = await release(board.url, { key: 'order:1', confirmation: 'order:1' });
      expect([answer.status, await body(answer)]).toEqual([200, { wasHeld: true }]);
      expect((await fetch(`${board.url}/api/lock?key=`)).status).toBe(400);
    });
  });

  it('takes no other route of the application', async () => {
    @Controller()
    class Own {
      @Get('other.js')
      other(): string {
        return 'own';
      }
    }
    @Module({ controllers: [Own] })
    class OwnModule {}
    await using board = await startBoard({
      adapter,
      board: { path: '/', guards: [everyone] },
      imports: [OwnModule],
      path: '',
    });
    expect(await (await fetch(`${board.url}/other.js`)).text()).toBe('own');
    expect(await (await fetch(`${board.url}/`)).text()).toContain('src="./app.js"');
  });
});

describe('Two boards of one application', () => {
  it('show one instance each', async () => {
    const guards = [everyone];
    await using board = await startBoard({
      board: { guards },
      imports: [
        ReplicaLockModule.forRoot({ name: 'payments', connection: 'memory:' }),
        ReplicaLockBoardModule.forRoot({ guards, path: 'payments/locks', name: 'payments' }),
      ],
    });
    await board.locks.acquire('unnamed');
    const origin = new URL(board.url).origin;
    const named = await EventReader.open(`${origin}/payments/locks/api/events`);
    expect(await named.message<BoardState>('state')).toMatchObject({
      instance: 'payments',
      held: { total: 0 },
    });
    named.close();
    const unnamed = await EventReader.open(`${origin}/locks/api/events`);
    expect(await unnamed.message<BoardState>('state')).toMatchObject({ held: { total: 1 } });
    unnamed.close();
  });
});

describe('A board of a Redis with values of other programs', () => {
  it('does not show what such a key holds, neither looked at nor taken away', async () => {
    const redis = await startRedis();
    try {
      await redis.call('SET', 'lock:session', 'card 4711');
      await redis.call('HSET', 'lock:cart', 'card', '4711');
      await using board = await startBoard({
        board: { guards: [everyone], allowForceRelease: true },
        locks: { connection: redis.url },
      });
      for (const key of ['session', 'cart'])
        for (const response of [
          await fetch(`${board.url}/api/lock?key=${key}`),
          await release(board.url, { key, confirmation: key }),
        ]) {
          const text = await response.text();
          expect([response.status, text]).toEqual([409, expect.stringContaining('no lock wrote')]);
          expect(text).not.toContain('4711');
        }
      expect(await redis.call('GET', 'lock:session')).toBe('card 4711');
    } finally {
      await redis.dispose();
    }
  });
});

describe('A board of a Redis with a password', () => {
  it('tells the servers and their replicas, and never the password', async () => {
    const password = 'correct-horse';
    const servers = await startReplication({ config: { user: `operator on >${password} ~* &* +@all` } });
    try {
      const connection = servers.url.replace('redis://', `redis://operator:${password}@`);
      const locks: ReplicaLockModuleOptions = { connection, quarantine: 0 };
      await using board = await startBoard({ locks });
      await board.locks.acquire('order:1');
      const reader = await EventReader.open(`${board.url}/api/events`);
      const [master] = (await reader.message<BoardState>('state')).masters;
      expect(master).toMatchObject({ address: servers.master.address, status: 'up' });
      expect(master!.replicas.map(({ address }) => address).toSorted()).toEqual(
        servers.replicas.map(({ address }) => address).toSorted(),
      );
      await servers.master.dispose();
      await reader.message<BoardState>('state', ({ masters }) => masters[0]?.status === 'down');
      const unavailable = await fetch(`${board.url}/api/lock?key=order:1`);
      expect(unavailable.status).toBe(503);
      expect(JSON.stringify(reader.messages) + (await unavailable.text())).not.toContain(password);
      reader.close();
    } finally {
      await servers.dispose();
    }
  }, 40_000);
});
