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

/** ms to wait before the next request, if nothing better is known. */
const RETRY_AFTER = 1_000;
/** ms: a holder that renews may release at any time, so the rest of its lease says little. */
const LONGEST_RETRY_AFTER_BUSY = 2_000;

/**
 * What is thrown in place of a lock's error; undefined: what would be thrown without the factory. A `Retry-After` header has been set already.
 *
 * ```ts
 * exceptionFactory: (error) => error instanceof LockContendedError ? new HttpException('Locked', 423, { cause: error }) : undefined
 * ```
 */
export type LockExceptionFactory = (error: ReplicaLockError, context: ExecutionContext) => unknown;

/**
 * What may be told to the caller of a request. Keys, hosts, processes and addresses are for the
 * log, so the lock's own error is the cause of what is thrown.
 */
export interface ErrorResponse {
  readonly status: HttpStatus;
  readonly grpcStatus: number;
  readonly title: string;
  readonly message: string;
  readonly code: string;
  /** s after which another request makes sense. */
  readonly retryAfter: number | undefined;
}

/** What a handler's caller is told of an error: a lock's error in the form of its context, anything else as it is. */
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
    // Thrown instead of returned: meant alike.
    own = thrown;
  }
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
      return (await rpcException(rpcPayloadOf(answer, context), error)) ?? error;
    default:
      return error;
  }
}

export function errorResponseOf(error: ReplicaLockError): ErrorResponse {
  const { status, retryAfter } = statusOf(error);
  const { title, grpcStatus, message } = ANSWERS[status];
  const isLost = error instanceof LockLostError;
  return {
    status,
    // Clients repeat by themselves what is UNAVAILABLE; work that may have been done they must not.
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

/** The HTTP status of a lock's error, and after how many ms another request makes sense. */
function statusOf(error: ReplicaLockError): { status: Status; retryAfter?: number } {
  if (error instanceof LockContendedError) {
    return {
      status: HttpStatus.CONFLICT,
      retryAfter: Math.min(error.remainingTime, LONGEST_RETRY_AFTER_BUSY),
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

/** Statuses of gRPC: https://grpc.io/docs/guides/status-codes */
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

/** Refused work has not begun; this has, and may have ended. */
const LOST =
  'This may or may not have been done: its lock was lost while it ran. Look before you try it again.';

interface ResponseLike {
  readonly headersSent?: boolean;
  /** Fastify's reply has Node's response there. */
  readonly raw?: { readonly headersSent?: boolean };
  header?(name: string, value: string): unknown;
  /** Middleware on Fastify is given Node's response. */
  setHeader?(name: string, value: string): unknown;
}

/** A response that has begun, as that of `@Sse` may have, takes no header any more. */
export function setRetryAfter(host: ArgumentsHost, { retryAfter }: ErrorResponse): void {
  const response = host.switchToHttp().getResponse<ResponseLike | undefined>();
  const hasBegun = (response?.raw ?? response)?.headersSent === true;
  if (retryAfter === undefined || hasBegun) return;
  if (response?.header === undefined) response?.setHeader?.('Retry-After', String(retryAfter));
  else response.header('Retry-After', String(retryAfter));
}

export function httpException(
  { status, title, message, code }: ErrorResponse,
  cause: ReplicaLockError,
): HttpException {
  return new HttpException({ statusCode: status, error: title, message, code }, status, { cause });
}

/** GraphQL servers read `extensions` of whatever error a resolver throws. */
export function graphqlError({ message, code, retryAfter }: ErrorResponse, cause: ReplicaLockError): Error {
  const extensions = { code, ...(retryAfter !== undefined && { retryAfter }) };
  return Object.assign(new Error(message, { cause }), { extensions });
}

/** The packages of these contexts are loaded only where a handler of theirs has failed: whoever has such a handler has the package. */
async function wsException(answer: ErrorResponse, cause: ReplicaLockError): Promise<Error | undefined> {
  const websockets = await import('@nestjs/websockets').catch(() => undefined);
  return websockets && Object.assign(new websockets.WsException(payloadOf(answer)), { cause });
}

async function rpcException(payload: object, cause: ReplicaLockError): Promise<Error | undefined> {
  const microservices = await import('@nestjs/microservices').catch(() => undefined);
  return microservices && Object.assign(new microservices.RpcException(payload), { cause });
}

/** What a gateway or a message handler answers. */
export function payloadOf({ message, code, retryAfter }: ErrorResponse): object {
  return { status: 'error', code, message, ...(retryAfter !== undefined && { retryAfter }) };
}

interface GrpcMetadata {
  set(name: string, value: string): void;
  toHttp2Headers(): unknown;
}

/** gRPC needs a number as `code`; the lock's code and the time to wait are trailing metadata there. */
export function rpcPayloadOf(answer: ErrorResponse, host: ArgumentsHost): object {
  const transport = host.switchToRpc().getContext<Partial<GrpcMetadata> | undefined>();
  if (typeof transport?.toHttp2Headers !== 'function') return payloadOf(answer);
  const { code, grpcStatus, message, retryAfter } = answer;
  const metadata = new (transport.constructor as new () => GrpcMetadata)();
  metadata.set('lock-error-code', code);
  if (retryAfter !== undefined) metadata.set('retry-after', String(retryAfter));
  return { code: grpcStatus, message, details: message, metadata };
}
