import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, Injectable, Module, Param, Put } from '@nestjs/common';
import { LockService, ReplicaLocked, ReplicaLockModule } from 'nestjs-replica-lock';

/*
 * Two uses of `limit`: an API of a partner that takes at most two requests at once, from all copies
 * together, and a price list that many may read beside each other and that one may import alone.
 *
 * `npm run sample:limited` starts Redis with two replicas and two copies, on the ports 3000 and
 * 3001. Each answer says how many held the lock at the end of the work.
 *
 *   curl localhost:3000/quotes/7       # 200 {"quote":"7","holders":1}
 *
 * Six at once, three for each copy. There are never more than two holders, so the answers come in
 * three pairs:
 *
 *   for i in 1 2 3; do curl localhost:3000/quotes/$i & curl localhost:3001/quotes/$i & done; wait
 *
 * Readers run beside each other:
 *
 *   curl localhost:3000/prices         # 200 {"did":"read","holders":1}
 *   curl localhost:3000/prices & curl localhost:3001/prices & wait
 *
 * The import waits for the readers, and readers that come later wait for the import:
 *
 *   curl -X PUT localhost:3000/prices  # 200 {"did":"import","holders":1}
 *   curl localhost:3000/prices & curl -X PUT localhost:3000/prices & curl localhost:3001/prices & wait
 */

/** ms */
const WORK = 500;

@Injectable()
export class Partner {
  constructor(private readonly locks: LockService) {}

  /** At most two at once, over all copies. A caller that waits for more than 10 s is answered 409. */
  @ReplicaLocked('partner', { limit: 2, waitTime: '10s' })
  async quote(item: string): Promise<{ quote: string; holders: number }> {
    await sleep(WORK);
    return { quote: item, holders: (await this.locks.inspectAll('partner')).length };
  }
}

@Injectable()
export class Prices {
  constructor(private readonly locks: LockService) {}

  /** Any number of readers, and no writer beside them. */
  @ReplicaLocked('prices', { limit: Infinity })
  read(): Promise<{ did: string; holders: number }> {
    return this.work('read');
  }

  /** The writer is the plain lock: neither readers nor writers beside it. */
  @ReplicaLocked('prices')
  import(): Promise<{ did: string; holders: number }> {
    return this.work('import');
  }

  private async work(did: string): Promise<{ did: string; holders: number }> {
    await sleep(WORK);
    return { did, holders: (await this.locks.inspectAll('prices')).length };
  }
}

@Controller()
export class ShopController {
  constructor(
    private readonly partner: Partner,
    private readonly prices: Prices,
  ) {}

  @Get('quotes/:item')
  quote(@Param('item') item: string): Promise<{ quote: string; holders: number }> {
    return this.partner.quote(item);
  }

  @Get('prices')
  read(): Promise<{ did: string; holders: number }> {
    return this.prices.read();
  }

  @Put('prices')
  import(): Promise<{ did: string; holders: number }> {
    return this.prices.import();
  }
}

@Module({
  imports: [
    ReplicaLockModule.forRoot({
      connection: process.env['REDIS_URL'] ?? 'redis://localhost:6379',
      // In development Redis starts together with the sample, and locks need not wait after a restart.
      quarantine: process.env['NODE_ENV'] === 'development' ? 0 : undefined,
    }),
  ],
  controllers: [ShopController],
  providers: [Partner, Prices],
})
export class AppModule {}
