import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import type { AcquireOutcome } from '../../../../lib/store/lock-store.js';
import { systemClock } from '../../../../lib/common/clock.js';
import { until } from '../../../support/eventually.js';
import { startRedis } from '../../../support/redis-process.js';
import { listenWithTls } from '../../../support/tls.js';
import { granted, requestFor, take } from '../../requests.js';
import { RedisStores } from '../redis-stores.js';

const stores = new RedisStores();
const single = { allowNoReplicas: true } as const;

afterEach(async () => {
  await stores.closeAll();
});

function reasonOf(outcome: AcquireOutcome): string {
  return outcome.kind === 'unavailable' ? outcome.reason : outcome.kind;
}

describe('A connection', () => {
  it.each([
    ['{ path }', (path: string) => ({ path })],
    ['a path', (path: string) => path],
  ])('goes through a unix socket given as %s, and errors name the path', async (_, connectionTo) => {
    const folder = mkdtempSync(join(tmpdir(), 'rl-'));
    const path = join(folder, 'redis.sock');
    await using server = await startRedis({ unixsocket: path });
    const store = stores.open(connectionTo(path), single);
    await take(store, 'by-path');
    expect(await server.call('EXISTS', 'lock:by-path')).toBe(1);
    expect(store.health().masters[0]?.address).toBe(path);
    await server.kill();
    await until(() => store.health().masters[0]?.reason?.startsWith(`Redis at ${path} cannot be used: `), {
      what: 'the reason is known',
    });
    const reasons = [store.health().masters[0]?.reason, ...stores.reports.map(({ message }) => message)];
    for (const reason of reasons) {
      expect(reason).toContain(path);
      expect(reason).not.toMatch(/localhost|6379/);
    }
    await stores.closeAll();
    rmSync(folder, { recursive: true, force: true });
  });

  it('survives SCRIPT FLUSH', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const held = await take(store, 'scripts');
    await server.call('SCRIPT', 'FLUSH');
    expect(await store.renew(held, 10_000).outcome).toMatchObject({ kind: 'renewed' });
    await server.call('SCRIPT', 'FLUSH');
    await take(store, 'scripts-2');
    await server.call('SCRIPT', 'FLUSH');
    expect(await store.release(held, 0)).toEqual({ kind: 'released', ours: true });
    await server.call('SCRIPT', 'FLUSH');
    expect((await store.forceRelease('scripts-2')).kind).toBe('done');
    await stores.closeAll();
  });

  it('tells every listener of FLUSHALL', async () => {
    await using server = await startRedis();
    const store = stores.open(server.url, single);
    const held = await take(store, 'flushed');
    let isTold = false;
    store.changes.subscribe((change) => (isTold ||= 'every' in change));
    await server.call('FLUSHALL');
    await until(() => isTold, { what: 'every key is to be looked at' });
    expect((await store.renew(held, 10_000).outcome).kind).toBe('gone');
    await stores.closeAll();
  });

  it("takes over an instance's address and credentials, but not its other options or its connection", async () => {
    await using server = await startRedis({ requirepass: 'secret' });
    const mine = new Redis({
      host: '127.0.0.1',
      port: server.port,
      password: 'secret',
      db: 3,
      keyPrefix: 'app:',
      commandTimeout: 200,
    });
    const store = stores.open(mine, single);
    await take(store, 'instance');
    expect(await server.client({ password: 'secret', db: 3 }).keys('*')).toEqual(['lock:instance']);
    await stores.closeAll();
    expect(await mine.ping()).toBe('PONG');
    mine.disconnect();
  });

  it('speaks TLS', async () => {
    await using server = await startRedis();
    const { port, ca } = await listenWithTls(server, 'IP:127.0.0.1');
    const store = stores.open({ host: '127.0.0.1', port, tls: { ca } }, single);
    granted(await store.acquire(requestFor('tls')).outcome);
    await stores.closeAll();
  });

  it('refuses a certificate for another host or of an unknown authority, and the process goes on', async () => {
    await using server = await startRedis();
    const { port, ca } = await listenWithTls(server, 'DNS:localhost');
    for (const [tls, reason] of [
      [{ ca }, /does not match certificate's altnames/],
      [{}, /self[- ]signed certificate/],
    ] as const) {
      const store = stores.open({ host: '127.0.0.1', port, tls }, single);
      // Time for several tries to connect.
      const request = requestFor('k', { waitUntil: systemClock.monotonic() + 1_500 });
      expect(reasonOf(await store.acquire(request).outcome)).toMatch(reason);
    }
    const store = stores.open({ host: '127.0.0.1', port, tls: { ca, servername: 'localhost' } }, single);
    granted(await store.acquire(requestFor('k')).outcome);
    await stores.closeAll();
  });

  it('to a single server reports that only observed replicas count, and recommends a number', async () => {
    await using server = await startRedis();
    stores.open(server.url);
    expect(stores.reports).toMatchObject([
      {
        level: 'log',
        code: 'observed-replicas',
        message: expect.stringContaining('Set replicas to their number'),
      },
    ]);
    await stores.closeAll();
  });
});
