import 'reflect-metadata';
import type { INestApplication, LoggerService, ModuleMetadata } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { ReplicaLockBoardModule, type ReplicaLockBoardOptions } from '../../lib/board/index.js';
import { LockService, ReplicaLockModule, type ReplicaLockModuleOptions } from '../../lib/index.js';
import type { Adapter } from '../decorators/apps.js';

/** A guard that lets everyone in. */
export const everyone = { canActivate: () => true };

export interface BoardApp extends AsyncDisposable {
  readonly app: INestApplication;
  readonly locks: LockService;
  /** The address of the page. */
  readonly url: string;
}

/** An application with a board, listening on a free port. `configure` runs before it starts. */
export async function startBoard({
  adapter = 'express',
  board = { guards: [everyone] },
  locks = { connection: 'memory:' },
  imports = [],
  logger = false,
  path = '/locks',
  port = 0,
  configure = () => {},
}: {
  adapter?: Adapter;
  board?: ReplicaLockBoardOptions;
  locks?: ReplicaLockModuleOptions;
  imports?: ModuleMetadata['imports'];
  logger?: LoggerService | false;
  /** Where the page is expected. */
  path?: string;
  port?: number;
  configure?: (app: INestApplication) => void;
} = {}): Promise<BoardApp> {
  const module = await Test.createTestingModule({
    imports: [
      ReplicaLockModule.forRoot({ shutdownTimeout: 500, ...locks }),
      ReplicaLockBoardModule.forRoot(board),
      ...(imports ?? []),
    ],
  }).compile();
  const app =
    adapter === 'express'
      ? module.createNestApplication({ logger })
      : module.createNestApplication(new FastifyAdapter() as never, { logger });
  configure(app);
  await app.listen(port, '127.0.0.1');
  return {
    app,
    locks: app.get(LockService),
    url: `${(await app.getUrl()).replace('[::1]', '127.0.0.1')}${path}`,
    [Symbol.asyncDispose]: () => app.close(),
  };
}
