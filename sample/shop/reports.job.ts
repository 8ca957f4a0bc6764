import { Injectable, Logger } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { ReplicaLocked } from 'nestjs-replica-lock';

/** A job that every copy of the shop schedules and one of them runs. */
@Injectable()
export class ReportsJob {
  private readonly logger = new Logger('ReportsJob');

  // The others skip the tick; a copy whose clock is late finds the key busy for another half of the interval.
  @Interval(1_000)
  @ReplicaLocked('report', { waitTime: 0, onContended: 'skip', minHoldTime: 500 })
  async run(): Promise<void> {
    this.logger.log('the report was written');
  }
}
