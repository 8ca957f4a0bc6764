import { Injectable, Logger } from '@nestjs/common';
import { Cron, CronExpression } from '@nestjs/schedule';
import { ReplicaLocked } from 'nestjs-replica-lock';

/** A job that every copy of the shop schedules and one copy runs. */
@Injectable()
export class ReportsJob {
  private readonly logger = new Logger('ReportsJob');

  // The other copies skip the tick. A copy that is late finds the key busy for 700 ms.
  @Cron(CronExpression.EVERY_SECOND)
  @ReplicaLocked('report', { waitTime: 0, onContended: 'skip', minHoldTime: 700 })
  async run(): Promise<void> {
    const tick = new Date(Math.round(Date.now() / 1_000) * 1_000);
    this.logger.log(`the report of ${tick.toISOString()} was written`);
  }
}
