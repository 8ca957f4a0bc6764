import 'reflect-metadata';
import type { INestApplication, LoggerService, ModuleMetadata } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import { ReplicaLockModule } from '../../lib/index.js';

export const adapters = ['express', 'fastify'] as const;
export type Adapter = (typeof adapters)[number];

/** A small real application with the lock module in memory, listening on a free port. */
export async function startApp(
  metadata: ModuleMetadata,
  {
    adapter = 'express',
    logger = false,
    build = (builder) => builder,
  }: {
    adapter?: Adapter;
    logger?: LoggerService | false;
    build?: (builder: TestingModuleBuilder) => TestingModuleBuilder;
  } = {},
): Promise<{ app: INestApplication; url: string }> {
  const builder = Test.createTestingModule({
    ...metadata,
    imports: [
      ReplicaLockModule.forRoot({ connection: 'memory:', shutdownTimeout: 500 }),
      ...(metadata.imports ?? []),
    ],
  });
  const module = await build(builder).compile();
  const app =
    adapter === 'express'
      ? module.createNestApplication({ logger, forceCloseConnections: true })
      : module.createNestApplication(new FastifyAdapter({ forceCloseConnections: true }) as never, {
          logger,
        });
  await app.listen(0, '127.0.0.1');
  return { app, url: await app.getUrl() };
}

/** Something that a test ends when it wants to. */
export class Gate {
  readonly passed: Promise<void>;
  open!: () => void;

  constructor() {
    this.passed = new Promise((resolve) => (this.open = resolve));
  }
}
