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

/**
 * What is thrown in place of a lock's error; undefined: what would be thrown without the factory. A `Retry-After` header has been set already.
 *
 * ```ts
 * exceptionFactory: (error) => error instanceof LockContendedError ? new HttpException('Locked', 423, { cause: error }) : undefined
 * ```
 */
export type LockExceptionFactory = (error: ReplicaLockError, context: ExecutionContext) => unknown;

/** What a handler's caller is told of an error: a lock's error in the form of its context, anything else as it is. */
export async function answerTo(
  context: ExecutionContext,
  error: unknown,
  factory: LockExceptionFactory | undefined,
): Promise<unknown> {
  if (!(error instanceof ReplicaLockError)) return error;
  const type = context.getType<string>();
  const answer = answerOf(error);
  if (type === 'http' && answer.retryAfter !== undefined) {
    context.switchToHttp().getResponse<ResponseLike>().header('Retry-After', String(answer.retryAfter));
  }
  const own = factory?.(error, context);
  if (own !== undefined) return own;
  // A mistake of the program: Nest logs it with its stack and tells the caller nothing. GraphQL servers tell everything.
  if (answer.status === HttpStatus.INTERNAL_SERVER_ERROR && type !== 'graphql') return error;
  switch (type) {
    case 'http':
      return httpException(answer, error);
    case 'graphql':
      return graphqlError(answer, error);
    case 'ws':
      return (await wsException(answer, error)) ?? error;
    case 'rpc':
      return (await rpcException(answer, error)) ?? error;
    default:
      return error;
  }
}

/** Hosts, processes and addresses are for the log: the lock's own error is the answer's cause. */
interface Answer {
  readonly status: HttpStatus;
  readonly title: string;
  readonly message: string;
  readonly code: string;
  /** s after which it makes sense to ask again. */
  readonly retryAfter: number | undefined;
}

interface ResponseLike {
  header(name: string, value: string): unknown;
}

function answerOf(error: ReplicaLockError): Answer {
  const { status, retryAfter } = httpStatusOf(error);
  const { title, message = error.message } = TEXTS[status] ?? { title: 'Internal Server Error' };
  const text = error instanceof LockLostError ? LOST : message;
  const seconds = retryAfter === undefined ? undefined : Math.max(1, Math.ceil(retryAfter / 1000));
  return { status, title, message: text, code: error.code, retryAfter: seconds };
}

/** The status of a lock's error over HTTP, and after how many ms it makes sense to ask again. */
function httpStatusOf(error: ReplicaLockError): { status: HttpStatus; retryAfter?: number } {
  if (error instanceof LockContendedError) {
    const { remainingTime } = error;
    return {
      status: HttpStatus.CONFLICT,
      retryAfter: remainingTime === Infinity ? RETRY_AFTER : remainingTime,
    };
  }
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

const TEXTS: Partial<Record<HttpStatus, { title: string; message?: string }>> = {
  [HttpStatus.BAD_REQUEST]: { title: 'Bad Request' },
  [HttpStatus.CONFLICT]: {
    title: 'Conflict',
    message: 'Another request is working on this. Try again later.',
  },
  [HttpStatus.SERVICE_UNAVAILABLE]: {
    title: 'Service Unavailable',
    message: 'This cannot be done safely just now. Try again later.',
  },
  [HttpStatus.INTERNAL_SERVER_ERROR]: {
    title: 'Internal Server Error',
    message: 'Internal server error',
  },
};

/** Refused work has not begun; this has, and may have ended. */
const LOST =
  'This may or may not have been done: its lock was lost while it ran. Look before you try it again.';

function httpException({ status, title, message, code }: Answer, cause: ReplicaLockError): HttpException {
  return new HttpException({ statusCode: status, error: title, message, code }, status, { cause });
}

/** GraphQL servers read `extensions` of whatever error a resolver throws. */
function graphqlError({ message, code, retryAfter }: Answer, cause: ReplicaLockError): Error {
  const extensions = { code, ...(retryAfter !== undefined && { retryAfter }) };
  return Object.assign(new Error(message, { cause }), { extensions });
}

/** The packages of these contexts are loaded only where a handler of theirs has failed: whoever has such a handler has the package. */
async function wsException(answer: Answer, cause: ReplicaLockError): Promise<Error | undefined> {
  const websockets = await import('@nestjs/websockets').catch(() => undefined);
  return websockets && Object.assign(new websockets.WsException(payloadOf(answer)), { cause });
}

async function rpcException(answer: Answer, cause: ReplicaLockError): Promise<Error | undefined> {
  const microservices = await import('@nestjs/microservices').catch(() => undefined);
  return microservices && Object.assign(new microservices.RpcException(payloadOf(answer)), { cause });
}

function payloadOf({ message, code, retryAfter }: Answer): object {
  return { status: 'error', code, message, ...(retryAfter !== undefined && { retryAfter }) };
}
