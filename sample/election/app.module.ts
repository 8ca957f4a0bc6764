import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, Injectable, Logger, Module, Post } from '@nestjs/common';
import { Interval, ScheduleModule } from '@nestjs/schedule';
import {
  LeaderOnly,
  type Lock,
  type LockElection,
  LockService,
  ReplicaLockModule,
  WhileLeader,
} from 'nestjs-replica-lock';

/*
 * One copy consumes a queue, and the next copy takes over.
 *
 * `npm run sample:election` starts Redis with two replicas and two copies, on the ports 3000 and
 * 3001. The log shows which copy leads. If that is the copy on 3001, exchange the ports:
 *
 *   curl localhost:3000/leader            # 200 {"leads":true}
 *   curl localhost:3001/leader            # 200 {"leads":false}
 *
 * The leader resigns. The other copy leads within milliseconds:
 *
 *   curl -X POST localhost:3000/resign    # 201 {"leads":false}
 *   curl localhost:3001/leader            # 200 {"leads":true}
 *
 * A copy that has resigned stands again only if it is told to:
 *
 *   curl -X POST localhost:3000/stand     # 201 {"leads":false}
 *   curl -X POST localhost:3001/resign    # 201 {"leads":false}
 *   curl localhost:3000/leader            # 200 {"leads":true}
 */

/** Stands for work that one copy of the application does. */
@Injectable()
export class Consumer {
  private readonly logger = new Logger('Consumer');
  private handled = 0;

  /** Called at the start of each term. Ends when the signal aborts: a loss, or a resignation. */
  @WhileLeader('consumer')
  async consume({ signal, fencingToken }: Lock): Promise<void> {
    this.logger.log(`consumes, term ${fencingToken}`);
    while (!signal.aborted) {
      // Stands for the next message, such as `await queue.next({ signal })`.
      await sleep(500, undefined, { signal }).catch(() => {});
      this.handled++;
    }
    this.logger.log('has stopped');
  }

  /** Every copy has the timer. The call does nothing on a copy that does not lead. */
  @Interval(5_000)
  @LeaderOnly('consumer')
  async tidyUp(): Promise<void> {
    this.logger.log(`has handled ${this.handled} messages`);
  }
}

@Controller()
export class LeaderController {
  private election: LockElection;

  constructor(private readonly locks: LockService) {
    this.election = locks.elect('consumer');
  }

  @Get('leader')
  leader(): { leads: boolean } {
    return { leads: this.election.isLeader };
  }

  @Post('resign')
  async resign(): Promise<{ leads: boolean }> {
    await this.election.resign();
    return this.leader();
  }

  @Post('stand')
  stand(): { leads: boolean } {
    this.election = this.locks.elect('consumer');
    return this.leader();
  }
}

@Module({
  imports: [
    ScheduleModule.forRoot(),
    ReplicaLockModule.forRoot({
      connection: process.env['REDIS_URL'] ?? 'redis://localhost:6379',
      // In development Redis starts together with the sample, and locks need not wait after a restart.
      quarantine: process.env['NODE_ENV'] === 'development' ? 0 : undefined,
    }),
  ],
  controllers: [LeaderController],
  providers: [Consumer],
})
export class AppModule {}
