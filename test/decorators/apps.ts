import 'reflect-metadata';
import type { INestApplication, LoggerService, ModuleMetadata } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import { type LockService, ReplicaLockModule } from '../../lib/index.js';
import { until } from '../support/eventually.js';

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

/** A promise that a test fulfils at a time of its choice. */
export class Gate {
  readonly passed: Promise<void>;
  open!: () => void;

  constructor() {
    this.passed = new Promise((resolve) => (this.open = resolve));
  }
}

/** Gates by name, for handlers that a test reaches over the network. */
export class Gates {
  private readonly gates = new Map<string, Gate>();

  of(name: string): Gate {
    const found = this.gates.get(name) ?? new Gate();
    this.gates.set(name, found);
    return found;
  }

  /** Opens all gates and forgets them. */
  openAll(): void {
    for (const gate of this.gates.values()) gate.open();
    this.gates.clear();
  }
}

/** Counts the calls that run at the same time. */
export class Inside {
  now = 0;
  most = 0;
  runs = 0;

  reset(): void {
    [this.now, this.most, this.runs] = [0, 0, 0];
  }

  async during(work: Promise<unknown>): Promise<void> {
    this.runs++;
    this.most = Math.max(this.most, ++this.now);
    await work.finally(() => this.now--);
  }
}

/** Waits until the key is locked. */
export function locked(locks: LockService, key: string): Promise<true> {
  return until(() => locks.isLocked(key), { what: `'${key}' is locked` });
}

/** Waits until the key is free. */
export function free(locks: LockService, key: string): Promise<true> {
  return until(async () => !(await locks.isLocked(key)), { what: `'${key}' is free` });
}

/** A request whose client leaves once the condition holds. */
export async function leaveOnce(
  url: string,
  condition: () => Promise<unknown>,
  init: RequestInit = {},
): Promise<void> {
  const client = new AbortController();
  const call = fetch(url, { ...init, signal: client.signal }).then((response) => response.text());
  await condition();
  client.abort();
  await call.catch(() => {});
}

/** The number of callers of the service that wait for a lock. */
export function waitingCallers(locks: LockService): number {
  const { waiting } = (locks as unknown as { acquisitions: { waiting: { size: number } } }).acquisitions;
  return waiting.size;
}
