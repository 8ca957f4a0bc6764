import 'reflect-metadata';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  type INestApplication,
  type INestMicroservice,
  type NestInterceptor,
  UseInterceptors,
} from '@nestjs/common';
import {
  type ClientProxy,
  ClientProxyFactory,
  Ctx,
  EventPattern,
  MessagePattern,
  type RedisOptions,
  type TcpOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import { Test } from '@nestjs/testing';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { firstValueFrom, from, type Observable, of, takeUntil, toArray } from 'rxjs';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import {
  CurrentLock,
  type Lock,
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  RunOnce,
} from '../../lib/index.js';
import { free, Gate, locked } from '../decorators/apps.js';
import { until } from '../support/eventually.js';
import { freePort } from '../support/ports.js';
import { type RedisProcess, startRedis } from '../support/redis-process.js';

const lockModule = (): unknown => ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 });

@WebSocketGateway()
class Prices {
  readonly gate = new Gate();

  @SubscribeMessage('slow')
  @ReplicaLocked('slow:{data.id}')
  async slow(@MessageBody() _price: { id: string }): Promise<void> {
    await this.gate.passed;
  }

  @SubscribeMessage('slow by argument')
  @ReplicaLocked('slow:{0.id}')
  async slowByArgument(@MessageBody() price: { id: string }): Promise<void> {
    await this.slow(price);
  }

  @SubscribeMessage('ticks')
  @ReplicaLocked('ticks:{data.id}')
  ticks(@MessageBody() _price: { id: string }): Observable<object> {
    return from(this.gate.passed.then(() => ({ event: 'tick', data: 1 })));
  }

  @SubscribeMessage('set')
  @ReplicaLocked('price:{data.id}', { waitTime: 0 })
  async set(@MessageBody() _price: { id: string }, @CurrentLock() lock: Lock): Promise<object> {
    return { event: 'set', data: lock.key };
  }

  @SubscribeMessage('once')
  @RunOnce('once:{data.id}', { keepFor: '1h', waitTime: 0 })
  async once(@MessageBody() price: { id: string; by: string }): Promise<object> {
    return { event: 'once', data: price.by };
  }

  @SubscribeMessage('wrong')
  @ReplicaLocked((): string => '')
  async wrong(): Promise<void> {}
}

describe('A handler of a gateway', () => {
  let app: INestApplication;
  let client: WebSocket;
  afterEach(async () => {
    client.close();
    await app.close();
  });

  it('takes its key from the message, and answers a busy lock with a WsException and its code', async () => {
    const module = await Test.createTestingModule({
      imports: [lockModule() as never],
      providers: [Prices],
    }).compile();
    app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    app.useWebSocketAdapter(new WsAdapter(app));
    await app.listen(0, '127.0.0.1');
    client = new WebSocket((await app.getUrl()).replace('http', 'ws'));
    await once(client, 'open');
    const ask = async (event: string, data: unknown): Promise<unknown> => {
      client.send(JSON.stringify({ event, data }));
      const [message] = (await once(client, 'message')) as [Buffer];
      return JSON.parse(message.toString());
    };
    expect(await ask('set', { id: 'a:b' })).toEqual({ event: 'set', data: 'price:a%3Ab' });
    await app.get(LockService).acquire('price:7');
    expect(await ask('set', { id: 7 })).toEqual({
      event: 'exception',
      data: {
        status: 'error',
        code: 'LOCK_CONTENDED',
        message: 'Another request is working on this. Try again later.',
        retryAfter: 2,
      },
    });
    for (const by of ['first', 'second'])
      expect(await ask('once', { id: '7', by })).toEqual({ event: 'once', data: 'first' });
    await app.get(LockService).acquire('once:8');
    expect(await ask('once', { id: '8', by: 'third' })).toMatchObject({
      event: 'exception',
      data: { code: 'LOCK_CONTENDED' },
    });
    expect(await ask('set', {})).toMatchObject({
      event: 'exception',
      data: { code: 'LOCK_KEY', message: expect.stringContaining('data.id') },
    });
    expect(await ask('wrong', {})).toMatchObject({
      event: 'exception',
      data: { message: 'Internal server error' },
    });
  });
});

describe.each([
  ['ws', WsAdapter],
  ['socket.io', IoAdapter],
] as const)('A handler of a gateway whose client disconnects (%s)', (kind, Adapter) => {
  let app: INestApplication;
  afterEach(async () => {
    app.get(Prices).gate.open();
    await app.close();
  });

  it('keeps the lock until the promise has settled, and releases the lock of an Observable at once', async () => {
    const module = await Test.createTestingModule({
      imports: [lockModule() as never],
      providers: [Prices],
    }).compile();
    app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    app.useWebSocketAdapter(new Adapter(app));
    await app.listen(0, '127.0.0.1');
    const locks = app.get(LockService);
    const send = await connect(kind, await app.getUrl());
    for (const event of ['slow', 'slow by argument']) send(event, { id: event });
    send('ticks', { id: 1 });
    for (const key of ['slow:slow', 'slow:slow%20by%20argument', 'ticks:1']) await locked(locks, key);
    send.close();
    await free(locks, 'ticks:1');
    expect(await locks.isLocked('slow:slow')).toBe(true);
    expect(await locks.isLocked('slow:slow%20by%20argument')).toBe(true);
    app.get(Prices).gate.open();
    await free(locks, 'slow:slow');
    await free(locks, 'slow:slow%20by%20argument');
  });
});

async function connect(
  kind: 'ws' | 'socket.io',
  url: string,
): Promise<((event: string, data: object) => void) & { close(): void }> {
  if (kind === 'ws') {
    const client = new WebSocket(url.replace('http', 'ws'));
    await once(client, 'open');
    const send = (event: string, data: object): void => client.send(JSON.stringify({ event, data }));
    return Object.assign(send, { close: () => client.close() });
  }
  const client = io(url, { transports: ['websocket'], forceNew: true });
  await new Promise<void>((resolve) => client.once('connect', resolve));
  const send = (event: string, data: object): void => void client.emit(event, data);
  return Object.assign(send, { close: () => void client.close() });
}

let enough = new Gate();
class Impatient implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(takeUntil(enough.passed));
  }
}

@Controller()
class Stock {
  gate = new Gate();
  events: string[] = [];
  constructor(private readonly locks: LockService) {}

  @MessagePattern('reserve')
  @ReplicaLocked('stock:{data.id}', { waitTime: 0 })
  async reserve(
    @Payload() _item: object,
    @Ctx() _context: unknown,
    @CurrentLock() lock: Lock,
  ): Promise<string> {
    return lock.key;
  }

  @MessagePattern('slow')
  @ReplicaLocked('slow:{data.id}')
  @UseInterceptors(Impatient)
  async slow(@Payload() _item: object): Promise<string> {
    await this.gate.passed;
    return 'done';
  }

  @MessagePattern('count')
  @ReplicaLocked('count')
  count(): Observable<number> {
    return of(this.locks.held.length, this.locks.held.length);
  }

  @EventPattern('sold')
  @ReplicaLocked('sold:{data.id}', { waitTime: 0, onContended: 'skip' })
  async sold(@Payload() item: { id: string }): Promise<void> {
    this.events.push(item.id);
    await this.gate.passed;
  }
}

describe.each(['TCP', 'Redis'] as const)('A message handler over %s', (transport) => {
  let redis: RedisProcess | undefined;
  let server: INestMicroservice;
  let client: ClientProxy;
  let options: TcpOptions | RedisOptions;

  beforeAll(async () => {
    if (transport === 'TCP')
      options = { transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } };
    else {
      redis = await startRedis();
      options = { transport: Transport.REDIS, options: { host: '127.0.0.1', port: redis.port } };
    }
    const module = await Test.createTestingModule({
      imports: [lockModule() as never],
      controllers: [Stock],
    }).compile();
    server = module.createNestMicroservice({ ...options, logger: false } as object);
    await server.listen();
    client = ClientProxyFactory.create(options as never) as unknown as ClientProxy;
    await client.connect();
  });
  afterAll(async () => {
    server.get(Stock).gate.open();
    await client.close();
    await server.close();
    await redis?.dispose();
  });

  it('takes its key from the data of the message', async () => {
    expect(await firstValueFrom(client.send('reserve', { id: 'a b' }))).toBe('stock:a%20b');
    expect(await firstValueFrom(client.send('count', {}).pipe(toArray()))).toEqual([1, 1]);
    await until(() => server.get(LockService).held.length === 0, { what: 'both are released' });
  });

  it('answers a busy lock with an RpcException and its code', async () => {
    const held = await server.get(LockService).acquire('stock:1');
    await expect(firstValueFrom(client.send('reserve', { id: 1 }))).rejects.toEqual({
      status: 'error',
      code: 'LOCK_CONTENDED',
      message: 'Another request is working on this. Try again later.',
      retryAfter: 2,
    });
    await held.release();
    await expect(firstValueFrom(client.send('reserve', {}))).rejects.toMatchObject({ code: 'LOCK_KEY' });
  });

  it('keeps the lock until the promise has settled, although an interceptor has stopped waiting', async () => {
    const locks = server.get(LockService);
    const answer = firstValueFrom(client.send('slow', { id: transport }).pipe(toArray()));
    await locked(locks, `slow:${transport}`);
    enough.open();
    expect(await answer).toEqual([]);
    expect(await locks.isLocked(`slow:${transport}`)).toBe(true);
    server.get(Stock).gate.open();
    await free(locks, `slow:${transport}`);
    server.get(Stock).gate = new Gate();
    enough = new Gate();
  });

  it('handles one event at a time for each key', async () => {
    const stock = server.get(Stock);
    const locks = server.get(LockService);
    client.emit('sold', { id: `${transport}-1` });
    await until(() => locks.isLocked(`sold:${transport}-1`), { what: 'the first is at work' });
    client.emit('sold', { id: `${transport}-1` });
    client.emit('sold', { id: `${transport}-2` });
    await until(() => stock.events.length === 2, { what: 'the other key is at work, too' });
    expect(stock.events).toEqual([`${transport}-1`, `${transport}-2`]);
  });
});
