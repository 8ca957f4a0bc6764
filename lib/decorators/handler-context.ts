import type { ExecutionContext } from '@nestjs/common';

/**
 * How a handler was reached. `field`: as a GraphQL field resolver with enhancers. `other`: by a
 * library that runs enhancers around a method (ExternalContextCreator), for example the subscriber
 * of a message broker.
 */
export type HandlerKind = 'http' | 'graphql' | 'field' | 'ws' | 'rpc' | 'other';

/** The names that a place of a template may begin with. True: the caller decides the value. */
export const REQUEST_ROOTS: Readonly<Record<string, boolean>> = {
  params: true,
  query: true,
  body: true,
  headers: true,
  args: true,
  data: true,
  user: false,
  ip: false,
};

const OF_HTTP = ['params', 'query', 'body', 'headers', 'user', 'ip'];
/**
 * The roots that exist in each kind. A WebSocket client and the message of another library may have
 * any property that the application gives them: the roots of HTTP are looked up there.
 */
const ROOTS_OF: Readonly<Record<HandlerKind, readonly string[]>> = {
  http: OF_HTTP,
  graphql: ['args', ...OF_HTTP],
  field: ['args', ...OF_HTTP],
  ws: ['data', ...OF_HTTP],
  rpc: ['data'],
  other: ['data', ...OF_HTTP],
};

/** Metadata that @nestjs/common and @nestjs/graphql keep on a handler. */
const ROUTE_PATH = 'path';
const RESOLVER_TYPE = 'graphql:resolver_type';
const ROOT_TYPES: ReadonlySet<unknown> = new Set(['Query', 'Mutation', 'Subscription']);

/**
 * The kind of the handler of this context. ExternalContextCreator calls its contexts `http` by
 * default, so a handler counts as HTTP only if it has a route.
 */
export function kindOf(context: ExecutionContext): HandlerKind {
  const type = context.getType<string>();
  switch (type) {
    case 'http':
      return Reflect.hasMetadata(ROUTE_PATH, context.getHandler()) ? 'http' : 'other';
    case 'graphql':
      return ROOT_TYPES.has(Reflect.getMetadata(RESOLVER_TYPE, context.getHandler())) ? 'graphql' : 'field';
    case 'ws':
    case 'rpc':
      return type;
    default:
      return 'other';
  }
}

/** Whether the handler returns the events of a GraphQL subscription. */
export function isSubscription(context: ExecutionContext): boolean {
  return Reflect.getMetadata(RESOLVER_TYPE, context.getHandler()) === 'Subscription';
}

/** The roots that a template may name in this kind of handler. */
export function rootsOf(kind: HandlerKind): readonly string[] {
  return ROOTS_OF[kind];
}

interface RequestLike {
  readonly [name: string]: unknown;
}

/** The part of the raw request with this name, before any pipe. */
export function requestRoot(root: string, kind: HandlerKind, context: ExecutionContext): unknown {
  switch (kind) {
    case 'http':
      return context.switchToHttp().getRequest<RequestLike>()[root];
    case 'graphql':
    case 'field': {
      const [, args, graphql] = context.getArgs<[unknown, unknown, { req?: RequestLike } | undefined]>();
      return root === 'args' ? args : graphql?.req?.[root];
    }
    case 'ws':
      return root === 'data'
        ? context.switchToWs().getData<unknown>()
        : context.switchToWs().getClient<RequestLike>()[root];
    case 'rpc':
      return root === 'data' ? context.switchToRpc().getData<unknown>() : undefined;
    default: {
      const [message] = context.getArgs<[RequestLike | undefined]>();
      return root === 'data' ? message : message?.[root];
    }
  }
}
