// Starts, locks over HTTP and in a provider, and exits with 1 if any result is wrong.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { LockService, ReplicaLockModule } from 'nestjs-replica-lock';
import { ReplicaLockBoardModule } from 'nestjs-replica-lock/board';
import { Reports, ReportsController } from './reports.js';

const url = process.env['REDIS_URL'] ?? '';
const client = new Redis(url);

@Module({
  imports: [
    ReplicaLockModule.forRoot({ connection: url, quarantine: 0 }),
    ReplicaLockModule.forRoot({ name: 'instance', connection: client, quarantine: 0 }),
    ReplicaLockBoardModule.forRoot({ guards: [{ canActivate: () => true }] }),
  ],
  controllers: [ReportsController],
  providers: [Reports],
})
class AppModule {}

async function main(): Promise<void> {
  const app = await NestFactory.create(AppModule, { logger: ['warn', 'error'], forceCloseConnections: true });
  await app.listen(0, '127.0.0.1');
  const post = (name: string): Promise<Response> =>
    app.getUrl().then((origin) => fetch(`${origin}/reports/${name}`, { method: 'POST' }));
  const answer = await post('a');
  assert.equal(answer.status, 201);
  assert.deepEqual(await answer.json(), { handler: 'request:a', confirmedBy: 1, provider: 'report:a' });
  const locks = app.get(LockService);
  await locks.withLock('request:b', async () => assert.equal((await post('b')).status, 409));
  const named = app.get<LockService>('ReplicaLockService_instance');
  await named.withLock('report:c', async () => assert.equal(await locks.isLocked('report:c'), true));
  const board = async (path: string): Promise<Response> => fetch(`${await app.getUrl()}/locks${path}`);
  assert.match(await (await board('')).text(), /<title>Lock board/);
  assert.equal((await board('/board.css')).status, 200);
  await locks.withLock('report:d', async () => {
    const { locks: holders } = (await (await board('/api/lock?key=report:d')).json()) as { locks: unknown[] };
    assert.equal(holders.length, 1);
  });
  await app.close();
  await client.quit();
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
