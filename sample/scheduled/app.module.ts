import {
  Controller,
  Delete,
  Get,
  Injectable,
  Logger,
  Module,
  Param,
  ParseIntPipe,
  Post,
} from '@nestjs/common';
import { Cron, CronExpression, ScheduleModule } from '@nestjs/schedule';
import { LockService, ReplicaLockModule, RunOnce } from 'nestjs-replica-lock';

/*
 * A report for every five seconds. Each copy of the application has the same timer, and each report
 * is written once over all copies.
 *
 * `npm run sample:scheduled` starts Redis with two replicas and two copies, on the ports 3000 and
 * 3001. The log shows which copy wrote which report. Both copies know all of them:
 *
 *   curl localhost:3000/reports
 *   curl localhost:3001/reports
 *
 * A report of any other tick. The second request gets the result of the first:
 *
 *   curl -X POST localhost:3000/reports/7     # 201 {"tick":7,"writtenBy":"copy 3000"}
 *   curl -X POST localhost:3001/reports/7     # 201 {"tick":7,"writtenBy":"copy 3000"}
 *
 * Remove the result, and the report is written again:
 *
 *   curl -X DELETE localhost:3000/reports/7   # 200 {"removed":true}
 *   curl -X DELETE localhost:3000/reports/7   # 200 {"removed":false}
 */

const PERIOD = 5_000;
const COPY = `copy ${process.env['PORT'] ?? 3000}`;

export interface Report {
  readonly tick: number;
  readonly writtenBy: string;
}

@Injectable()
export class Reports {
  private readonly logger = new Logger('Reports');

  /** A caller that finds another copy at work waits for its result, and takes over if it fails. */
  @RunOnce('report:{0}', { keepFor: '1h', waitTime: '1m' })
  async write(tick: number): Promise<Report> {
    this.logger.log(`the report of tick ${tick} was written`);
    return { tick, writtenBy: COPY };
  }
}

@Injectable()
export class Schedule {
  readonly last: Report[] = [];

  constructor(private readonly reports: Reports) {}

  /** All copies get the same tick if their clocks differ by less than half a period. */
  @Cron(CronExpression.EVERY_5_SECONDS)
  async tick(): Promise<void> {
    this.last.unshift(await this.reports.write(Math.round(Date.now() / PERIOD)));
    this.last.splice(10);
  }
}

@Controller('reports')
export class ReportsController {
  constructor(
    private readonly reports: Reports,
    private readonly schedule: Schedule,
    private readonly locks: LockService,
  ) {}

  @Get()
  list(): { copy: string; reports: Report[] } {
    return { copy: COPY, reports: this.schedule.last };
  }

  @Post(':tick')
  write(@Param('tick', ParseIntPipe) tick: number): Promise<Report> {
    return this.reports.write(tick);
  }

  @Delete(':tick')
  async remove(@Param('tick', ParseIntPipe) tick: number): Promise<{ removed: boolean }> {
    return { removed: await this.locks.forceRelease(`report:${tick}`) };
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
  controllers: [ReportsController],
  providers: [Reports, Schedule],
})
export class AppModule {}
