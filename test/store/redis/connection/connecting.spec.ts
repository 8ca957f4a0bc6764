import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { systemClock } from '../../../../lib/common/clock.js';
import type { LockStore } from '../../../../lib/store/lock-store.js';
import { afterFreeTime } from '../../../../lib/store/redis/connection/connecting.js';
import { connectionSettingsOf } from '../../../../lib/store/redis/connection/connection-settings.js';
import { IoredisConnector } from '../../../../lib/store/redis/connection/ioredis-connector.js';
import { RedisStore } from '../../../../lib/store/redis/redis-store.js';
import type { RedisConnection } from '../../../../lib/store/redis/options.js';
import { startCluster } from '../../../support/cluster.js';
import { until } from '../../../support/eventually.js';
import { Link } from '../../../support/link.js';
import { ManualClock, settled } from '../../../support/manual-clock.js';
import { startRedis, type RedisProcess } from '../../../support/redis-process.js';
import { granted, requestFor, take } from '../../requests.js';
import { redisOptions, RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
const single = { allowNoReplicas: true } as const;
const reasonOf = (store: LockStore): string => store.health().masters[0]?.reason ?? '';

afterEach(() => stores.closeAll());

/** A hung process as clients see one: the kernel accepts connections, but nothing reads them. */
class HungServer {
  readonly sockets = new Set<Socket>();
  accepted = 0;
  mostOpen = 0;
  readonly #listener: Server = createServer((socket) => {
    this.accepted++;
    this.sockets.add(socket);
    this.mostOpen = Math.max(this.mostOpen, this.sockets.size);
    socket.on('error', () => {});
    socket.on('close', () => this.sockets.delete(socket));
    // Reads, so that the end of the other side is noticed.
    socket.resume();
  });

  static start(): Promise<HungServer> {
    const server = new HungServer();
    return new Promise((resolve) => server.#listener.listen(0, '127.0.0.1', () => resolve(server)));
  }

  get port(): number {
    return (this.#listener.address() as { port: number }).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#listener.close(resolve));
  }
}

describe('A server that hangs during connecting', () => {
  let server: RedisProcess;
  beforeAll(async () => {
    server = await startRedis({ requirepass: 'secret' });
  });
  afterAll(() => server.dispose());

  // AUTH, CLIENT SETNAME, CLIENT ID, four times INFO, SUBSCRIBE, CLIENT TRACKING, CLIENT LIST, on
  // three connections.
  it.each([1, 4, 7, 9, 12, 14, 15, 16, 17])(
    'is given up before its answer number %d, and its sockets are closed',
    async (answer) => {
      await using link = await Link.to(server);
      const hung = link.beforeReply(answer, () => link.stall());
      const { port } = link;
      const store = stores.open({ host: '127.0.0.1', port, password: 'secret', connectTimeout: 300 }, single);
      await hung;
      await until(() => reasonOf(store).includes('did not answer within 300 ms'), {
        what: 'it was given up',
      });
      link.onConnection((connection) => connection.cut());
      await until(() => [...link.connections].every((each) => !each.isClientOpen), {
        what: 'its sockets are closed',
      });
      // From now on the address leads to a healthy server.
      link.onConnection(() => {});
      link.resume();
      granted(await store.acquire(requestFor(`hung-${answer}`, { waitUntil: soon(3_000) })).outcome);
      await stores.closeAll();
    },
  );

  it('is given up within 3 s after its address leads to a healthy server, by default', async () => {
    await using link = await Link.to(server);
    const store = stores.open(`redis://:secret@127.0.0.1:${link.port}`, single);
    await take(store, 'before');
    link.stall();
    await until(() => store.health().masters[0]?.connected === false, { what: 'the session has ended' });
    // The first try of the next session is under way: the connection was accepted and gets no
    // answer.
    await until(() => link.accepted > 3, { what: 'it is connected to' });
    link.resume();
    for (const connection of link.connections) connection.stall();
    granted(await store.acquire(requestFor('after', { waitUntil: soon(3_000) })).outcome);
    await stores.closeAll();
  });

  it.each([
    ['a plain connection', (port: number): RedisConnection => ({ port, connectTimeout: 200 })],
    ['TLS', (port: number): RedisConnection => ({ port, tls: {}, connectTimeout: 200 })],
    ['a URL', (port: number): RedisConnection => `redis://127.0.0.1:${port}?connectTimeout=200`],
    [
      'a Sentinel',
      (port: number): RedisConnection => ({ sentinels: [{ port }], name: 'm', connectTimeout: 200 }),
    ],
    [
      'a Cluster',
      (port: number): RedisConnection => ({
        nodes: [{ port }],
        options: { redisOptions: { connectTimeout: 200 } },
      }),
    ],
  ])(
    'does not make sockets pile up, and no socket remains after the store is closed: %s',
    async (_, connectionTo) => {
      await using hung = await HungServer.start();
      const before = pending();
      const store = stores.open(connectionTo(hung.port), single);
      await until(() => hung.accepted > 3, { within: 15_000, what: 'it was tried several times' });
      expect(hung.mostOpen).toBeLessThanOrEqual(3);
      await until(() => hung.sockets.size > 0, { what: 'it is connected to' });
      await store.close();
      await until(() => hung.sockets.size === 0, { within: 150, what: 'no socket is left' });
      await until(() => pending() <= before, {
        within: 150,
        what: 'no timer is left, so that the process can end',
      });
    },
  );
});

describe('A Cluster of which one node hangs', () => {
  it('is used as soon as another node of the list answers', async () => {
    await using cluster = await startCluster({ masters: 1, replicas: 3 });
    const [, first, second, third] = cluster.nodes as [
      RedisProcess,
      RedisProcess,
      RedisProcess,
      RedisProcess,
    ];
    const nodes = [first, second, third].map(({ port }) => ({ host: '127.0.0.1', port }));
    await first.stop();
    await second.kill();
    await third.kill();
    const store = stores.open({ nodes });
    await until(() => reasonOf(store).includes('ECONNREFUSED'), { what: 'the list was tried' });
    await second.restart({ data: 'kept' });
    await third.restart({ data: 'kept' });
    const back = systemClock.monotonic();
    granted(
      await store.acquire(requestFor('cluster', { waitUntil: soon(20_000), replicas: 'majority' })).outcome,
    );
    // Version 0.1.0 waited 11 s for the node that hangs, and only then asked the others again.
    expect(systemClock.monotonic() - back).toBeLessThan(6_000);
    await stores.closeAll();
  });
});

describe('The reason why connecting fails', () => {
  it.each<[what: string, connection: RedisConnection, address: string, reason: RegExp]>([
    [
      'a port without a listener',
      'redis://127.0.0.1:1',
      '127.0.0.1:1',
      /^Redis at 127\.0\.0\.1:1 cannot be used: connect ECONNREFUSED/,
    ],
    [
      'a host name',
      'redis://localhost:1',
      'localhost:1',
      /^Redis at localhost:1 cannot be used: connect ECONNREFUSED/,
    ],
    [
      'an unknown host',
      'redis://nohost.invalid',
      'nohost.invalid:6379',
      /^Redis at nohost\.invalid:6379 cannot be used: getaddrinfo E\w+ nohost\.invalid\. Check the host in the option connection\.$/,
    ],
    [
      'no unix socket',
      '/nowhere/redis.sock',
      '/nowhere/redis.sock',
      /^Redis at \/nowhere\/redis\.sock cannot be used: connect ENOENT/,
    ],
    [
      'Sentinels',
      {
        sentinels: [
          { host: '127.0.0.1', port: 1 },
          { host: 'localhost', port: 2 },
        ],
        name: 'm',
      },
      "master 'm' of Sentinel at 127.0.0.1:1, localhost:2",
      /no Sentinel of 'm' tells where the master is \(127\.0\.0\.1:1: connect ECONNREFUSED .*; localhost:2: connect ECONNREFUSED/,
    ],
    [
      'nodes',
      { nodes: ['redis://localhost:1', { host: '127.0.0.1', port: 2 }] },
      'localhost:1, 127.0.0.1:2',
      /says which master serves which slot \(localhost:1: connect ECONNREFUSED .*; 127\.0\.0\.1:2: connect ECONNREFUSED/,
    ],
  ])('names the server as the user did: %s', async (_, connection, address, reason) => {
    const store = stores.open(connection, single);
    await until(() => reason.test(reasonOf(store)), { what: 'the reason is known' });
    expect(store.health().masters[0]!.address).toBe(address);
  });

  it('is told for a proxy that accepts connections and closes them', async () => {
    await using link = await Link.to({ port: 1 });
    link.onConnection((connection) => connection.cut());
    const store = stores.open(link.url, single);
    await until(
      () =>
        /cannot be used: (read ECONNRESET|the connection was closed as soon as it was made)\.$/.test(
          reasonOf(store),
        ),
      {
        what: 'the reason is known',
      },
    );
    await stores.closeAll();
  });
});

describe('The time that connecting may take', () => {
  it.each([
    ['no limit of the user', 'redis://h', 2_000],
    ['a limit of the user', 'redis://h?connectTimeout=700', 700],
    ['a longer limit, for a distant server', { host: 'h', connectTimeout: 5_000 }, 5_000],
    ['an instance whose owner set none', new Redis({ host: 'h', lazyConnect: true }), 2_000],
    [
      'an instance whose owner set a limit',
      new Redis({ host: 'h', lazyConnect: true, connectTimeout: 900 }),
      900,
    ],
  ] as [string, RedisConnection, number][])('is bounded: %s', (_, connection, limit) => {
    expect(new IoredisConnector(connectionSettingsOf(connection).options).connectTimeout).toBe(limit);
  });

  it('passes as real time does if the event loop is free', async () => {
    const clock = new ManualClock();
    let isUp = false;
    afterFreeTime(clock, 2_000, () => (isUp = true));
    await clock.advance(1_999);
    expect(isUp).toBe(false);
    await clock.advance(1);
    expect(isUp).toBe(true);
    expect(clock.timers).toBe(0);
  });

  it('passes slowly if the process is busy: answers that came meanwhile are still unread', async () => {
    const clock = new ManualClock();
    let isUp = false;
    afterFreeTime(clock, 1_000, () => (isUp = true));
    for (let turn = 0; turn < 9; turn++) {
      clock.freeze(1_500);
      await clock.advance(0);
    }
    expect(isUp).toBe(false);
    clock.freeze(1_500);
    await clock.advance(0);
    expect(isUp).toBe(true);
  });

  it('is no longer counted after a stop', async () => {
    const clock = new ManualClock();
    let isUp = false;
    const stop = afterFreeTime(clock, 1_000, () => (isUp = true));
    await clock.advance(950);
    stop();
    await clock.advance(1_000);
    expect(isUp).toBe(false);
  });
});

/** The resources that keep the process alive. */
function pending(): number {
  return process.getActiveResourcesInfo().filter((kind) => /^(Timeout|TCPSocketWrap|TLSWrap)$/.test(kind))
    .length;
}

function soon(ms: number): number {
  return systemClock.monotonic() + ms;
}

describe('A store that is opened twice', () => {
  it('connects once', async () => {
    /** How often a store connects if `open` is called `times` times. */
    const attemptsOf = async (times: number): Promise<number> => {
      let attempts = 0;
      const store = new RedisStore(redisOptions('redis://127.0.0.1:1'), systemClock, {
        connectTimeout: 1_000,
        connect: (_address, _label, signal) => {
          attempts++;
          return new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(new Error('aborted')));
          });
        },
      });
      for (let i = 0; i < times; i++) store.open();
      await settled();
      await store.close();
      return attempts;
    };
    expect(await attemptsOf(2)).toBe(await attemptsOf(1));
  });
});
