import 'reflect-metadata';
import { once } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { CommandBus } from '@nestjs/cqrs';
import { ClientProxyFactory, type TcpOptions, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { Test } from '@nestjs/testing';
import { firstValueFrom } from 'rxjs';
import WebSocket from 'ws';
import { AppModule } from '../../sample/everywhere/app.module.js';
import { Journal, Ship } from '../../sample/everywhere/orders.js';
import { until } from '../support/eventually.js';
import { freePort } from '../support/ports.js';

describe('The sample with every kind of handler', () => {
  it('runs each handler under its lock', async () => {
    const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
    const app = module.createNestApplication({ logger: false, forceCloseConnections: true });
    app.useWebSocketAdapter(new WsAdapter(app));
    const tcp: TcpOptions = {
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port: await freePort() },
    };
    app.connectMicroservice(tcp);
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    const url = await app.getUrl();

    await fetch(`${url}/orders/1/pay`, { method: 'POST' });
    await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'mutation { pay(id: "2") }' }),
    });
    const socket = new WebSocket(url.replace('http', 'ws'));
    await once(socket, 'open');
    socket.send(JSON.stringify({ event: 'pay', data: { id: '3' } }));
    await once(socket, 'message');
    socket.close();
    const client = ClientProxyFactory.create(tcp as never);
    await firstValueFrom(client.send('pay', { id: '4' }) as never);
    client.close();
    await app.get(CommandBus).execute(new Ship('5'));
    const { lines } = app.get(Journal);
    await until(() => lines.some((line) => line.startsWith('job')), { what: 'the job has run' });
    expect(new Set(lines)).toEqual(
      new Set([
        'HTTP handler under order:1',
        'listener under invoice:1',
        'resolver under order:2',
        'gateway under order:3',
        'message handler under order:4',
        'service under shelf:5',
        'job under count-shelves',
      ]),
    );
    await app.close();
  });
});
