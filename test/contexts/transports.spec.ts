import 'reflect-metadata';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  Injectable,
  ParseIntPipe,
  type INestApplication,
  type INestMicroservice,
} from '@nestjs/common';
import {
  ClientProxyFactory,
  Ctx,
  KafkaContext,
  MessagePattern,
  NatsContext,
  Payload,
  RmqContext,
  Server,
  Transport,
  type CustomTransportStrategy,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { firstValueFrom, from, isObservable } from 'rxjs';
import { LockService, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { freePort } from '../support/ports.js';

/** Passes messages to Nest's handlers as the transport of a broker does, without a broker. */
class Broker extends Server implements CustomTransportStrategy {
  listen(callback: () => void): void {
    callback();
  }

  close(): void {}

  on(): void {}

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as Nest declares it
  unwrap<T>(): T {
    return this as unknown as T;
  }

  async deliver(pattern: string, data: unknown, context: unknown): Promise<unknown> {
    const result = await this.getHandlerByPattern(pattern)!(data, context);
    return firstValueFrom(isObservable(result) ? result : from([result]));
  }
}

@Injectable()
class Stores {
  constructor(private readonly locks: LockService) {}

  count(id: string): Promise<string> {
    return this.locks.withLock(`count:${id}`, { waitTime: 0 }, async () => 'counted');
  }
}

@Controller()
class Stock {
  constructor(
    private readonly locks: LockService,
    private readonly stores: Stores,
  ) {}

  @MessagePattern('reserve')
  @ReplicaLocked('stock:{data.id}', { waitTime: 0 })
  async reserve(@Payload() _item: object, @Ctx() context: object): Promise<unknown> {
    return [this.locks.current()?.key, context.constructor.name];
  }

  @MessagePattern('reserve-number')
  @ReplicaLocked('stock:{0}', { waitTime: 0 })
  async reserveNumber(@Payload('id', ParseIntPipe) _id: number): Promise<unknown> {
    return this.locks.current()?.key;
  }

  @MessagePattern('count')
  count(@Payload('id') id: string): Promise<string> {
    return this.stores.count(id);
  }
}

const shop = {
  imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
  controllers: [Stock],
  providers: [Stores],
};
const BUSY = {
  status: 'error',
  code: 'LOCK_CONTENDED',
  message: 'Another request is working on this. Try again later.',
  retryAfter: 2,
};

describe.each([
  ['Kafka', new KafkaContext([{} as never, 0, 'topic', {} as never, async () => {}, {} as never])],
  ['RabbitMQ', new RmqContext([{}, {}, 'reserve'])],
  ['NATS', new NatsContext(['subject', {}])],
])('A message handler with the context of %s', (_, context) => {
  let server: INestMicroservice;
  afterEach(() => server.close());

  it('takes its key from the message or from its arguments after pipes, and answers a busy lock', async () => {
    const module = await Test.createTestingModule(shop).compile();
    const broker = new Broker();
    server = module.createNestMicroservice({ strategy: broker, logger: false } as never);
    await server.listen();
    expect(await broker.deliver('reserve', { id: 'a:b' }, context)).toEqual([
      'stock:a%3Ab',
      context.constructor.name,
    ]);
    expect(await broker.deliver('reserve-number', { id: '07' }, context)).toBe('stock:7');
    await server.get(LockService).acquire(['stock:7', 'count:7']);
    await expect(broker.deliver('reserve', { id: 7 }, context)).rejects.toEqual(BUSY);
    await expect(broker.deliver('reserve-number', { id: '07' }, context)).rejects.toEqual(BUSY);
    await expect(broker.deliver('count', { id: '7' }, context)).rejects.toEqual(BUSY);
    expect(await broker.deliver('count', { id: '8' }, context)).toBe('counted');
  });
});

describe('A hybrid application with inheritAppConfig', () => {
  it('answers over HTTP and over the transport, and locks the same keys in both', async () => {
    const port = await freePort();
    const module = await Test.createTestingModule(shop).compile();
    const app: INestApplication = module.createNestApplication({ logger: false });
    const options = { host: '127.0.0.1', port };
    app.connectMicroservice({ transport: Transport.TCP, options }, { inheritAppConfig: true });
    await app.startAllMicroservices();
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
    try {
      const ask = (pattern: string): Promise<unknown> => firstValueFrom(client.send(pattern, { id: '7' }));
      expect(await ask('reserve')).toEqual(['stock:7', 'TcpContext']);
      await app.get(LockService).acquire(['stock:7', 'count:7']);
      await expect(ask('reserve')).rejects.toEqual(BUSY);
      await expect(ask('count')).rejects.toEqual(BUSY);
    } finally {
      client.close();
      await app.close();
    }
  });
});
