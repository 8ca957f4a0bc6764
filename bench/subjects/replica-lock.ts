import 'reflect-metadata';
import { Injectable, Module, type DynamicModule, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  LockService,
  ReplicaLocked,
  ReplicaLockModule,
  type ReplicaLockModuleOptions,
} from 'nestjs-replica-lock';
import { LEASE, urlOf, type Locker, type Server, type Subject } from './subject.js';

@Injectable()
export class LockedMethods {
  @ReplicaLocked('{0}')
  async run(_key: string, work: () => void | Promise<void>): Promise<void> {
    await work();
  }
}

@Module({})
class BenchModule {
  static of(options: ReplicaLockModuleOptions): DynamicModule {
    return { module: BenchModule, imports: [ReplicaLockModule.forRoot(options)], providers: [LockedMethods] };
  }
}

/**
 * A Nest application with this library that is ready to grant locks. `quarantine: 0`, because the
 * servers have just been started.
 */
export async function startLocks(
  server: Server,
  options: Partial<ReplicaLockModuleOptions> = {},
): Promise<{ locks: LockService; methods: LockedMethods; app: INestApplicationContext }> {
  const app = await NestFactory.createApplicationContext(
    BenchModule.of({
      connection: urlOf(server),
      quarantine: 0,
      leaseTime: LEASE,
      waitTime: Infinity,
      ...options,
    }),
    { logger: false },
  );
  const locks = app.get(LockService);
  await (await locks.acquire('bench:warm-up')).release();
  return { locks, methods: app.get(LockedMethods), app };
}

const throughService: Subject = {
  name: 'nestjs-replica-lock',
  kind: 'ours',
  confirmed: true,
  waits: true,
  async connect(server): Promise<Locker> {
    const { locks, app } = await startLocks(server);
    return {
      async hold(key, work) {
        const lock = await locks.acquire(key);
        await work();
        await lock.release();
      },
      async acquire(key) {
        const lock = await locks.acquire(key);
        return () => lock.release();
      },
      async holdUntilLost(key, leaseTime, onLost) {
        const lock = await locks.acquire(key, { leaseTime });
        lock.signal.addEventListener('abort', onLost);
      },
      close: () => app.close(),
    };
  },
};

const throughDecorator: Subject = {
  name: 'nestjs-replica-lock, decorator',
  kind: 'ours',
  confirmed: true,
  waits: true,
  async connect(server): Promise<Locker> {
    const { methods, app } = await startLocks(server);
    return { hold: (key, work) => methods.run(key, work), close: () => app.close() };
  },
};

export const OURS = throughService.name;
export const THROUGH_DECORATOR = throughDecorator.name;
export const replicaLock: readonly Subject[] = [throughService, throughDecorator];
