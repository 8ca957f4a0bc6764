import { HttpException, HttpStatus, type ExecutionContext } from '@nestjs/common';
import {
  LockContendedError,
  LockKeyError,
  LockLostError,
  LockNotReplicatedError,
  LockServiceClosedError,
  LockUnavailableError,
  ReplicaLockError,
} from '../lock/errors.js';

/** ms to wait before asking again where nobody knows better. */
const RETRY_AFTER = 1_000;

/** What a handler's caller is told of an error: a lock's error in the form of its context, anything else as it is. */
export function answerTo(context: ExecutionContext, error: unknown): unknown {
  if (!(error instanceof ReplicaLockError)) return error;
  switch (context.getType<string>()) {
    case 'http':
      return httpAnswer(context, error);
    case 'graphql':
      return Object.assign(error, { extensions: { code: error.code, keys: error.keys } });
    default:
      return error;
  }
}

/** The status of a lock's error over HTTP, and after how many ms it makes sense to ask again. */
export function httpStatusOf(error: ReplicaLockError): { status: HttpStatus; retryAfter?: number } {
  if (error instanceof LockContendedError)
    return { status: HttpStatus.CONFLICT, retryAfter: error.remainingTime };
  if (error instanceof LockUnavailableError) {
    return { status: HttpStatus.SERVICE_UNAVAILABLE, retryAfter: error.retryAfter ?? RETRY_AFTER };
  }
  if (error instanceof LockNotReplicatedError || error instanceof LockServiceClosedError) {
    return { status: HttpStatus.SERVICE_UNAVAILABLE, retryAfter: RETRY_AFTER };
  }
  if (error instanceof LockLostError) return { status: HttpStatus.SERVICE_UNAVAILABLE };
  if (error instanceof LockKeyError && error.fromRequest) return { status: HttpStatus.BAD_REQUEST };
  return { status: HttpStatus.INTERNAL_SERVER_ERROR };
}

/** What the caller is told. Hosts, processes and addresses are for the log: the lock's own error is the exception's cause. */
const TEXTS: Partial<Record<HttpStatus, { title: string; message: string }>> = {
  [HttpStatus.CONFLICT]: {
    title: 'Conflict',
    message: 'Another request is working on this. Try again later.',
  },
  [HttpStatus.SERVICE_UNAVAILABLE]: {
    title: 'Service Unavailable',
    message: 'This cannot be done safely just now. Try again later.',
  },
};

interface ResponseLike {
  header(name: string, value: string): unknown;
}

function httpAnswer(context: ExecutionContext, error: ReplicaLockError): unknown {
  const { status, retryAfter } = httpStatusOf(error);
  // A mistake of the program: Nest logs it with its stack and tells the caller nothing.
  if (status === HttpStatus.INTERNAL_SERVER_ERROR) return error;
  if (retryAfter !== undefined) {
    const seconds = Math.max(1, Math.ceil(retryAfter / 1000));
    context.switchToHttp().getResponse<ResponseLike>().header('Retry-After', String(seconds));
  }
  const { title = 'Bad Request', message = error.message } = TEXTS[status] ?? {};
  const body = { statusCode: status, error: title, message, code: error.code };
  return new HttpException(body, status, { cause: error });
}
