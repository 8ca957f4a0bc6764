import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { credentials, loadPackageDefinition, status, type Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { Controller, type INestMicroservice } from '@nestjs/common';
import { ClientProxyFactory, GrpcMethod, MessagePattern, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { Test } from '@nestjs/testing';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { firstValueFrom } from 'rxjs';
import WebSocket from 'ws';
import { LockService, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';
import { freePort } from '../support/ports.js';
import { Payments } from './payments.js';

const BUSY_TEXT = 'Another request is working on this. Try again later.';

@WebSocketGateway()
class Gateway {
  constructor(private readonly payments: Payments) {}

  @SubscribeMessage('pay')
  pay(): Promise<string> {
    return this.payments.pay('7');
  }
}

describe('A lock error that escapes from a service, on a gateway', () => {
  it('is answered with the code, by each of two applications', async () => {
    for (let round = 0; round < 2; round++) {
      const module = await Test.createTestingModule({
        imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
        providers: [Payments, Gateway],
      }).compile();
      const app = module.createNestApplication({ logger: false, forceCloseConnections: true });
      app.useWebSocketAdapter(new WsAdapter(app));
      await app.listen(0, '127.0.0.1');
      await app.get(LockService).acquire('order:7');
      const client = new WebSocket((await app.getUrl()).replace('http', 'ws'));
      await once(client, 'open');
      client.send(JSON.stringify({ event: 'pay', data: {} }));
      const [message] = (await once(client, 'message')) as [Buffer];
      expect(JSON.parse(message.toString())).toEqual({
        event: 'exception',
        data: { status: 'error', code: 'LOCK_CONTENDED', message: BUSY_TEXT, retryAfter: 2 },
      });
      client.close();
      await app.close();
    }
  });
});

@Controller()
class Messages {
  constructor(private readonly payments: Payments) {}

  @MessagePattern('pay')
  pay(id: string): Promise<string> {
    return this.payments.pay(id);
  }
}

describe('A lock error that escapes from a service, over TCP', () => {
  it('is answered with the code', async () => {
    const port = await freePort();
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
      controllers: [Messages],
      providers: [Payments],
    }).compile();
    const options = { host: '127.0.0.1', port };
    const server = module.createNestMicroservice({
      transport: Transport.TCP,
      options,
      logger: false,
    } as never);
    await server.listen();
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
    try {
      await server.get(LockService).acquire('order:7');
      await expect(firstValueFrom(client.send('pay', '7'))).rejects.toEqual({
        status: 'error',
        code: 'LOCK_CONTENDED',
        message: BUSY_TEXT,
        retryAfter: 2,
      });
      expect(await firstValueFrom(client.send('pay', '8'))).toBe('paid');
    } finally {
      client.close();
      await server.close();
    }
  });
});

@Controller()
class Stock {
  constructor(private readonly payments: Payments) {}

  @GrpcMethod('Stock', 'Reserve')
  @ReplicaLocked('stock:{data.id}', { waitTime: 0 })
  async reserve(item: object): Promise<object> {
    return item;
  }

  @GrpcMethod('Stock', 'Pay')
  async pay({ id }: { id: string }): Promise<object> {
    await this.payments.pay(id);
    return { id };
  }
}

interface GrpcAnswer {
  readonly code?: number;
  readonly details?: string;
  readonly metadata?: Metadata;
  readonly id?: string;
}

describe('Over gRPC a lock error has a status that clients know', () => {
  let folder: string;
  let server: INestMicroservice;
  let ask: (method: 'Reserve' | 'Pay', id: string) => Promise<GrpcAnswer>;
  let close: () => void;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'grpc-'));
    const protoPath = join(folder, 'stock.proto');
    writeFileSync(
      protoPath,
      'syntax = "proto3"; package shop; message Item { string id = 1; }' +
        'service Stock { rpc Reserve (Item) returns (Item); rpc Pay (Item) returns (Item); }',
    );
    const url = `127.0.0.1:${await freePort()}`;
    const module = await Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 0 })],
      controllers: [Stock],
      providers: [Payments],
    }).compile();
    server = module.createNestMicroservice({
      transport: Transport.GRPC,
      options: { url, package: 'shop', protoPath },
      logger: false,
    } as never);
    await server.listen();
    type Method = (item: object, done: (error: GrpcAnswer | null, answer: GrpcAnswer) => void) => void;
    const { shop: services } = loadPackageDefinition(loadSync(protoPath)) as unknown as {
      shop: {
        Stock: new (url: string, how: unknown) => Record<'Reserve' | 'Pay', Method> & { close(): void };
      };
    };
    const client = new services.Stock(url, credentials.createInsecure());
    ask = (method, id) =>
      new Promise((resolve) => client[method]({ id }, (error, answer) => resolve(error ?? answer)));
    close = () => client.close();
  });
  afterEach(async () => {
    close();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('ABORTED if the lock is contended, INVALID_ARGUMENT for a bad request', async () => {
    const locks = server.get(LockService);
    await locks.acquire(['stock:7', 'order:7']);
    for (const method of ['Reserve', 'Pay'] as const) {
      const answer = await ask(method, '7');
      expect([answer.code, answer.details]).toEqual([status.ABORTED, BUSY_TEXT]);
      expect(answer.metadata?.get('lock-error-code')).toEqual(['LOCK_CONTENDED']);
      expect(answer.metadata?.get('retry-after')).toEqual(['2']);
    }
    expect(await ask('Reserve', '')).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining('data.id'),
    });
    expect(await ask('Pay', '8')).toMatchObject({ id: '8' });
  });

  it('UNAVAILABLE if no lock is granted', async () => {
    await server.get(LockService).drain();
    expect(await ask('Reserve', '7')).toMatchObject({ code: status.UNAVAILABLE });
    expect(await ask('Pay', '7')).toMatchObject({ code: status.UNAVAILABLE });
  });
});
