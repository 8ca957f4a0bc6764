import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Param, ValidationPipe } from '@nestjs/common';
import { Test } from '@nestjs/testing';
// Imported as a value, as editors do: the metadata of the argument then names the class.
import { CurrentLock, Lock, ReplicaLocked, ReplicaLockModule } from '../../lib/index.js';

@Controller()
class Orders {
  @Get('name/:id')
  @ReplicaLocked('order:{params.id}')
  async byName(@Param('id') _id: string, @CurrentLock() lock: Lock): Promise<readonly string[]> {
    return lock.keys;
  }

  @Get('argument/:id')
  @ReplicaLocked('order:{0}')
  async byArgument(@Param('id') _id: string, @CurrentLock() lock: Lock): Promise<readonly string[]> {
    return lock.keys;
  }
}

describe('A handler with @CurrentLock behind a global ValidationPipe', () => {
  let app: INestApplication;
  afterEach(() => app.close());

  it.each([
    {},
    { transform: true },
    { validateCustomDecorators: true },
    { transform: true, whitelist: true, validateCustomDecorators: true },
  ])('gets the lock with the options %j', async (options) => {
    const testing = Test.createTestingModule({
      imports: [ReplicaLockModule.forRoot({ connection: 'memory:' })],
      controllers: [Orders],
    });
    app = (await testing.compile()).createNestApplication();
    app.useGlobalPipes(new ValidationPipe(options));
    await app.listen(0, '127.0.0.1');
    for (const path of ['name', 'argument']) {
      const response = await fetch(`${await app.getUrl()}/${path}/7`);
      expect([response.status, await response.json()]).toEqual([200, ['order:7']]);
    }
  });
});
