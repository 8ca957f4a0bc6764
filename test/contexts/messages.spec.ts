import 'reflect-metadata';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, type INestApplication, type INestMicroservice } from '@nestjs/common';
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
import { WsAdapter } from '@nestjs/platform-ws';
import { Test } from '@nestjs/testing';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { firstValueFrom, type Observable, of, toArray } from 'rxjs';
import WebSocket from 'ws';
import { CurrentLock, type Lock, LockService, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { Gate } from '../decorators/apps.js';
import { until } from '../support/eventually.js';
import { freePort } from '../support/ports.js';
import { type RedisProcess, startRedis } from '../support/redis-process.js';

const lockModule = (): unknown => ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 });

@WebSocketGateway()
class Prices {
  @SubscribeMessage('set')
  @ReplicaLocked('price:{data.id}', { waitTime: 0 })
  async set(@MessageBody() _price: { id: string }, @CurrentLock() lock: Lock): Promise<object> {
    return { event: 'set', data: lock.key };
  }

  @SubscribeMessage('wrong')
  @ReplicaLocked((): string => '')
  async wrong(): Promise<void> {}
}

describe('A gateway’s handler', () => {
  let app: INestApplication;
  let client: WebSocket;
  afterEach(async () => {
    client.close();
    await app.close();
  });

  it('is locked by its message, and answers as a WsException with the code', async () => {
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

@Controller()
class Stock {
  readonly gate = new Gate();
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

describe.each(['TCP', 'Redis'] as const)('A message’s handler over %s', (transport) => {
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

  it('is locked by its data', async () => {
    expect(await firstValueFrom(client.send('reserve', { id: 'a b' }))).toBe('stock:a%20b');
    expect(await firstValueFrom(client.send('count', {}).pipe(toArray()))).toEqual([1, 1]);
    await until(() => server.get(LockService).held.length === 0, { what: 'both are released' });
  });

  it('answers as an RpcException with the code', async () => {
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

  it('takes one of the events for a key at a time', async () => {
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
