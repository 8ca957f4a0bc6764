import 'reflect-metadata';
import { Agent, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  Controller,
  Get,
  Injectable,
  Module,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type INestApplication,
  type NestInterceptor,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Observable } from 'rxjs';
import { LockService, ReplicaLocked, ReplicaLockModule } from 'nestjs-replica-lock';
import { Part } from '../processes/part.js';
import { median } from '../report/statistics.js';
import type { Cell } from '../report/table.js';
import type { Report, Workload } from './workload.js';

/*
 * The cost of the decorator over calls of LockService, on a provider method and on an HTTP handler.
 * Locks are in memory, because the time of Redis would hide the difference.
 */

@Injectable()
class Methods {
  constructor(private readonly locks: LockService) {}

  async plain(_id: string): Promise<string> {
    return 'done';
  }

  byHand(id: string): Promise<string> {
    return this.locks.withLock(`order:${id}`, async () => 'done');
  }

  @ReplicaLocked('order:{0}')
  async decorated(_id: string): Promise<string> {
    return 'done';
  }
}

/** Does nothing. Shows the time that Nest takes for any interceptor of a handler. */
@Injectable()
class Empty implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle();
  }
}

@Controller()
class Handlers {
  constructor(private readonly locks: LockService) {}

  @Get('plain/:id')
  async plain(): Promise<string> {
    return 'done';
  }

  @Get('by-hand/:id')
  byHand(): Promise<string> {
    return this.locks.withLock('order:7', async () => 'done');
  }

  @Get('intercepted/:id')
  @UseInterceptors(Empty)
  intercepted(): Promise<string> {
    return this.locks.withLock('order:7', async () => 'done');
  }

  @Get('decorated/:id')
  @ReplicaLocked('order:{params.id}')
  async decorated(): Promise<string> {
    return 'done';
  }
}

@Module({
  imports: [ReplicaLockModule.forRoot({ connection: 'memory:' })],
  providers: [Methods],
  controllers: [Handlers],
})
class BenchModule {}

type Way = 'plain' | 'by hand' | 'intercepted' | 'decorated';

interface Params {
  readonly blocks: number;
  readonly calls: number;
}

/** us for a call, for each way and block. */
type Figures = Record<'method' | 'handler', Record<Way, number[]>>;

export async function part({ blocks, calls }: Params): Promise<Figures> {
  const app = await NestFactory.create(BenchModule, { logger: ['error', 'fatal'] });
  await app.listen(0, '127.0.0.1');
  const methods = app.get(Methods);
  const get = requester(app);
  const method = await compare(blocks, calls, {
    plain: (id) => methods.plain(id),
    'by hand': (id) => methods.byHand(id),
    intercepted: undefined,
    decorated: (id) => methods.decorated(id),
  });
  const handler = await compare(blocks, Math.ceil(calls / 10), {
    plain: (id) => get(`/plain/${id}`),
    'by hand': (id) => get(`/by-hand/${id}`),
    intercepted: (id) => get(`/intercepted/${id}`),
    decorated: (id) => get(`/decorated/${id}`),
  });
  await app.close();
  return { method, handler };
}

/** Runs blocks of sequential calls, the ways in turn. */
async function compare(
  blocks: number,
  calls: number,
  ways: Record<Way, ((id: string) => Promise<unknown>) | undefined>,
): Promise<Record<Way, number[]>> {
  const times: Record<Way, number[]> = { plain: [], 'by hand': [], intercepted: [], decorated: [] };
  for (let block = -2; block < blocks; block++) {
    for (const way of Object.keys(times) as Way[]) {
      const call = ways[way];
      if (call === undefined) continue;
      const start = performance.now();
      for (let i = 0; i < calls; i++) await call(String(i));
      // The first blocks warm up.
      if (block >= 0) times[way].push(((performance.now() - start) * 1000) / calls);
    }
  }
  return times;
}

function requester(app: INestApplication): (path: string) => Promise<void> {
  const { port } = app.getHttpServer().address() as AddressInfo;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return (path) =>
    new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port, path, agent }, (response) => {
        response.resume().once('end', resolve);
      })
        .once('error', reject)
        .end();
    });
}

export const decorator: Workload = {
  name: 'decorator',
  async run(bench): Promise<Report> {
    const params: Params = bench.smoke ? { blocks: 1, calls: 200 } : { blocks: 15, calls: 5_000 };
    const figures = await Part.run<Figures>(import.meta.url, params);
    const rows = (['method', 'handler'] as const).map((where): Cell[] => {
      const { plain, 'by hand': byHand, intercepted, decorated } = figures[where];
      return [
        where === 'method' ? 'a provider method' : 'an HTTP handler (Express)',
        median(plain),
        median(byHand),
        intercepted.length > 0 ? median(intercepted) : undefined,
        median(decorated),
        median(decorated.map((time, i) => time - (intercepted[i] ?? byHand[i]!))),
      ];
    });
    return {
      tables: [
        {
          title: 'The cost of the decorator',
          note: 'Microseconds for a call, one call after the other, locks in memory, medians over the blocks. An empty interceptor shows the time that Nest takes for any interceptor. The last column is the difference of the two before.',
          columns: [
            'call',
            'not locked',
            'withLock',
            'below an empty interceptor',
            '@ReplicaLocked',
            'the decorator',
          ],
          rows,
        },
      ],
    };
  },
};
