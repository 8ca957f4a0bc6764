import {
  type ArgumentsHost,
  Catch,
  Logger,
  ServiceUnavailableException,
  HttpException,
} from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { ReplicaLockError } from 'nestjs-replica-lock';

/** Logs why a lock was refused. The reason names hosts, so callers only get the status. */
@Catch(HttpException)
export class UnavailableFilter extends BaseExceptionFilter {
  private readonly logger = new Logger('Shop');

  override catch(exception: HttpException, host: ArgumentsHost): void {
    const isUnavailable = exception.getStatus() === new ServiceUnavailableException().getStatus();
    if (isUnavailable && exception.cause instanceof ReplicaLockError)
      this.logger.warn(exception.cause.message);
    super.catch(exception, host);
  }
}
