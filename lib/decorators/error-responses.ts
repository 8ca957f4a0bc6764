import { HttpException, HttpStatus, type ArgumentsHost, type ExecutionContext } from '@nestjs/common';
import {
  LockContendedError,
  LockKeyError,
  LockLostError,
  LockNotReplicatedError,
  LockServiceClosedError,
  LockUnavailableError,
  ReplicaLockError,
} from '../lock/errors.js';

/** ms until another request makes sense, if the error does not say. */
const RETRY_AFTER = 1_000;
/** ms. A holder that renews may release at any time: the rest of its lease says little. */
const LONGEST_RETRY_AFTER_BUSY = 2_000;

/**
 * Makes the exception that is thrown in place of a lock's error. If the factory returns undefined,
 * the module's own exception is thrown. On HTTP a `Retry-After` header has been set already.
 * @example
 * ```ts
 * exceptionFactory: (error) =>
 *   error instanceof LockContendedError
 *     ? new HttpException('Locked', 423, { cause: error })
 *     : undefined
 * ```
 */
export type LockExceptionFactory = (error: ReplicaLockError, context: ExecutionContext) => unknown;

/**
 * The part of a lock's error that the caller of a request may read. Keys, hosts, processes and
 * addresses are for the log: the lock's own error is the `cause` of the exception.
 */
interface ErrorResponse {
  readonly status: HttpStatus;
  readonly grpcStatus: number;
  readonly title: string;
  readonly message: string;
  readonly code: string;
  /** Seconds until another request makes sense. */
  readonly retryAfter: number | undefined;
}

/**
 * The exception to throw for an error of a handler: a lock's error becomes an exception of the
 * handler's context, any other error stays as it is.
 */
export async function responseTo(
  context: ExecutionContext,
  error: unknown,
  factory: LockExceptionFactory | undefined,
): Promise<unknown> {
  if (!(error instanceof ReplicaLockError)) return error;
  const type = context.getType<string>();
  const answer = errorResponseOf(error);
  if (type === 'http') setRetryAfter(context, answer);
  let own: unknown;
  try {
    own = factory?.(error, context);
  } catch (thrown) {
    // A factory may throw its exception instead of returning the exception.
    own = thrown;
  }
  if (own !== undefined) return own;
  // A mistake of the program. Nest logs the error with its stack, and the caller sees no detail.
  // GraphQL servers would send the message to the caller.
  if (answer.status === HttpStatus.INTERNAL_SERVER_ERROR && type !== 'graphql') return error;
  switch (type) {
    case 'http':
      return httpException(answer, error);
    case 'graphql':
      return graphqlError(answer, error);
    case 'ws':
      return (await wsException(answer, error)) ?? error;
    case 'rpc':
      return (await rpcException(rpcPayloadOf(answer, context), error)) ?? error;
    default:
      return error;
  }
}

function errorResponseOf(error: ReplicaLockError): ErrorResponse {
  const { status, retryAfter } = statusOf(error);
  const { title, grpcStatus, message } = ANSWERS[status];
  const isLost = error instanceof LockLostError;
  return {
    status,
    // Clients retry UNAVAILABLE on their own, which they must not if the work may have been done.
    grpcStatus: isLost ? GRPC_ABORTED : grpcStatus,
    title,
    message: isLost ? LOST : ((error as LockKeyError).requestProblem ?? message),
    code: error.code,
    retryAfter: retryAfter === undefined ? undefined : Math.max(1, Math.ceil(retryAfter / 1000)),
  };
}

type Status =
  | HttpStatus.BAD_REQUEST
  | HttpStatus.CONFLICT
  | HttpStatus.INTERNAL_SERVER_ERROR
  | HttpStatus.SERVICE_UNAVAILABLE;

/** The HTTP status of a lock's error, and the ms until another request makes sense. */
function statusOf(error: ReplicaLockError): { status: Status; retryAfter?: number } {
  if (error instanceof LockContendedError) {
    return {
      status: HttpStatus.CONFLICT,
      retryAfter: error.keepsResult
        ? error.remainingTime
        : Math.min(error.remainingTime, LONGEST_RETRY_AFTER_BUSY),
    };
  }
  if (error instanceof LockUnavailableError)
    return { status: HttpStatus.SERVICE_UNAVAILABLE, retryAfter: error.retryAfter ?? RETRY_AFTER };
  if (error instanceof LockNotReplicatedError || error instanceof LockServiceClosedError)
    return { status: HttpStatus.SERVICE_UNAVAILABLE, retryAfter: RETRY_AFTER };
  if (error instanceof LockLostError) return { status: HttpStatus.SERVICE_UNAVAILABLE };
  if (error instanceof LockKeyError && error.fromRequest) return { status: HttpStatus.BAD_REQUEST };
  return { status: HttpStatus.INTERNAL_SERVER_ERROR };
}

const GRPC_ABORTED = 10;

/** The numbers are gRPC's: https://grpc.io/docs/guides/status-codes */
const ANSWERS: Readonly<Record<Status, { title: string; grpcStatus: number; message: string }>> = {
  [HttpStatus.BAD_REQUEST]: {
    title: 'Bad Request',
    grpcStatus: 3, // INVALID_ARGUMENT
    message: 'A value that this request needs is missing or cannot be used.',
  },
  [HttpStatus.CONFLICT]: {
    title: 'Conflict',
    grpcStatus: GRPC_ABORTED,
    message: 'Another request is working on this. Try again later.',
  },
  [HttpStatus.SERVICE_UNAVAILABLE]: {
    title: 'Service Unavailable',
    grpcStatus: 14, // UNAVAILABLE
    message: 'This cannot be done safely just now. Try again later.',
  },
  [HttpStatus.INTERNAL_SERVER_ERROR]: {
    title: 'Internal Server Error',
    grpcStatus: 13, // INTERNAL
    message: 'Internal server error',
  },
};

/** For a lost lock. Unlike refused work, this work has begun and may have ended. */
const LOST =
  'This may or may not have been done: its lock was lost while it ran. Look before you try it again.';

interface ResponseLike {
  readonly headersSent?: boolean;
  /** Node's response, in the reply of Fastify. */
  readonly raw?: { readonly headersSent?: boolean };
  header?(name: string, value: string): unknown;
  /** Node's response has no `header`, and is what middleware on Fastify is given. */
  setHeader?(name: string, value: string): unknown;
}

/** Sets `Retry-After`, unless the response has begun (as with `@Sse`) and takes no more headers. */
function setRetryAfter(host: ArgumentsHost, { retryAfter }: ErrorResponse): void {
  const response = host.switchToHttp().getResponse<ResponseLike | undefined>();
  const hasBegun = (response?.raw ?? response)?.headersSent === true;
  if (retryAfter === undefined || hasBegun) return;
  if (response?.header === undefined) response?.setHeader?.('Retry-After', String(retryAfter));
  else response.header('Retry-After', String(retryAfter));
}

function httpException(
  { status, title, message, code }: ErrorResponse,
  cause: ReplicaLockError,
): HttpException {
  // The error names keys and servers, which callers of a production server must not read.
  const isRefusal = status === HttpStatus.SERVICE_UNAVAILABLE && !(cause instanceof LockLostError);
  const tells = isRefusal && process.env['NODE_ENV'] !== 'production';
  const body = { statusCode: status, error: title, message, code, ...(tells && { reason: cause.message }) };
  return new HttpException(body, status, { cause });
}

/** GraphQL servers read the `extensions` of any error that a resolver throws. */
function graphqlError({ message, code, retryAfter }: ErrorResponse, cause: ReplicaLockError): Error {
  const extensions = { code, ...(retryAfter !== undefined && { retryAfter }) };
  return Object.assign(new Error(message, { cause }), { extensions });
}

/**
 * The package is loaded only after a WebSocket handler has failed: an application with such a
 * handler has the package installed. The same holds for `rpcException`.
 */
async function wsException(answer: ErrorResponse, cause: ReplicaLockError): Promise<Error | undefined> {
  const websockets = await import('@nestjs/websockets').catch(() => undefined);
  return websockets && Object.assign(new websockets.WsException(payloadOf(answer)), { cause });
}

async function rpcException(payload: object, cause: ReplicaLockError): Promise<Error | undefined> {
  const microservices = await import('@nestjs/microservices').catch(() => undefined);
  return microservices && Object.assign(new microservices.RpcException(payload), { cause });
}

/** The error that a gateway or a message handler sends to its client. */
function payloadOf({ message, code, retryAfter }: ErrorResponse): object {
  return { status: 'error', code, message, ...(retryAfter !== undefined && { retryAfter }) };
}

interface GrpcMetadata {
  set(name: string, value: string): void;
  toHttp2Headers(): unknown;
}

/**
 * The error that a message handler sends. gRPC needs a number as `code`: the lock's code and the
 * time to wait travel in its trailing metadata.
 */
function rpcPayloadOf(answer: ErrorResponse, host: ArgumentsHost): object {
  const transport = host.switchToRpc().getContext<Partial<GrpcMetadata> | undefined>();
  if (typeof transport?.toHttp2Headers !== 'function') return payloadOf(answer);
  const { code, grpcStatus, message, retryAfter } = answer;
  const metadata = new (transport.constructor as new () => GrpcMetadata)();
  metadata.set('lock-error-code', code);
  if (retryAfter !== undefined) metadata.set('retry-after', String(retryAfter));
  return { code: grpcStatus, message, details: message, metadata };
}
