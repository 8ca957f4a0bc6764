import { Controller, Injectable, Param, Post } from '@nestjs/common';
import { CurrentLock, type Lock, LockService, ReplicaLocked } from 'nestjs-replica-lock';

@Injectable()
export class Reports {
  constructor(private readonly locks: LockService) {}

  @ReplicaLocked('report:{0}')
  async write(_name: string): Promise<string | undefined> {
    return this.locks.current()?.key;
  }
}

@Controller('reports')
export class ReportsController {
  constructor(private readonly reports: Reports) {}

  @Post(':name')
  @ReplicaLocked('request:{params.name}', { waitTime: 0 })
  async write(@Param('name') name: string, @CurrentLock() lock: Lock): Promise<object> {
    return { handler: lock.key, confirmedBy: lock.confirmedBy, provider: await this.reports.write(name) };
  }
}
