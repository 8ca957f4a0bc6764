import { describe, expect, it } from '@jest/globals';
import { Body, type ExecutionContext, Get, Headers, Ip, Param, Post, Query } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/internal';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { LockKeyError, ReplicaLocked } from '../../lib/index.js';
import { LOCKED_METHOD, type LockedMethod } from '../../lib/decorators/locked-method.js';

type Method = (...args: never[]) => unknown;
const request = {
  params: { id: '07' },
  query: { q: 'a b' },
  body: { item: { id: 5 } },
  headers: { 'x-tenant': 'acme' },
  user: { id: 'ada' },
  ip: '::1',
};

/** A decorated handler, and the context in which Nest would call the handler. */
function handlerOf(
  key: Parameters<typeof ReplicaLocked>[0],
  type: string,
  args: readonly unknown[],
  decorate?: MethodDecorator,
): { method: LockedMethod; context: ExecutionContext } {
  class Shop {
    async handle(..._args: unknown[]): Promise<void> {}
  }
  const descriptor = Object.getOwnPropertyDescriptor(Shop.prototype, 'handle')!;
  (ReplicaLocked(key) as MethodDecorator)(Shop.prototype, 'handle', descriptor);
  const handler = descriptor.value as Method;
  decorate?.(Shop.prototype, 'handle', descriptor);
  const context = new ExecutionContextHost([...args], Shop, handler);
  context.setType(type);
  return { method: Reflect.getMetadata(LOCKED_METHOD, handler) as LockedMethod, context };
}

const resolver =
  (type: string): MethodDecorator =>
  (_target, _property, { value }: PropertyDescriptor) =>
    Reflect.defineMetadata('graphql:resolver_type', type, value as object);
const http = ['http', [request, {}], Get()] as const;
const message = { id: 'm1' };
const field = [{ id: 'parent' }, { id: 'arg' }, { req: request }, {}];

describe('The keys of a handler before its call', () => {
  it.each([
    // A name is a part of the raw request, with the names of each context.
    ['order:{params.id}', ...http, 'order:07'],
    ['{query.q}:{body.item.id}', ...http, 'a%20b:5'],
    ['{headers.X-Tenant}:{user.id}:{ip}', ...http, 'acme:ada:%3A%3A1'],
    [['a:{params.id}', 'b'], ...http, ['a:07', 'b']],
    ['item:{args.id}', 'graphql', field, resolver('Query'), 'item:arg'],
    ['item:{args.id}:{params.id}', 'graphql', field, resolver('Item'), 'item:arg:07'],
    ['m:{data.id}', 'rpc', [message, {}], undefined, 'm:m1'],
    ['m:{data.id}:{user.id}', 'ws', [{ user: { id: 'ada' } }, message], undefined, 'm:m1:ada'],
    ['m:{data.id}', 'rmq', [message, {}], undefined, 'm:m1'],
    // ExternalContextCreator calls its contexts 'http' by default.
    ['m:{data.id}', 'http', [message], undefined, 'm:m1'],
    ['constant', 'rmq', [message], undefined, 'constant'],
    // Arguments, and a body that has not been read, are known only when the method is called.
    ['order:{0}', ...http, undefined],
    [['{params.id}', '{1.id}'], ...http, undefined],
    ['order:{body.id}', 'http', [{ params: {} }, {}], Post(), undefined],
    ['order:{body.id}', 'http', [{ body: {} }, {}], Post(), undefined],
  ] as const)('of %j in %s(%j)', (key, type, args, decorate, keys) => {
    const { method, context } = handlerOf(key, type, args, decorate);
    expect(method.keys.beforeCall(context)).toEqual(keys);
  });

  it.each([
    ['{params.idd}', ...http, false, /Shop\.handle.*the route has only \{params\.id\}/],
    ['{query.page}', ...http, true, /value for \{query\.page\} is undefined/],
    [
      '{data.id}',
      ...http,
      false,
      /there is no \{data\.id\} in a 'http' handler, only \{params\.\.\.\}.*\(\{0\}\)/,
    ],
    [
      '{params.id}',
      'rpc',
      [message],
      undefined,
      false,
      /there is no \{params\.id\} in a 'rpc' handler, only \{data/,
    ],
    ['{data.no}', 'rmq', [message], undefined, true, /value for \{data\.no\} is undefined/],
    ['{data.id}', 'rmq', [], undefined, true, /value for \{data\.id\} is undefined/],
  ] as const)('%s in %s(%j) are refused', (key, type, args, decorate, fromRequest, text) => {
    const { method, context } = handlerOf(key, type, args, decorate);
    expect(() => method.keys.beforeCall(context)).toThrow(text);
    expect(() => method.keys.beforeCall(context)).toThrow(expect.objectContaining({ fromRequest }));
  });
});

describe('A key function', () => {
  const given: unknown[][] = [];
  const key = (...args: unknown[]): string => {
    given.push(args);
    return 'key';
  };
  it.each([
    [...http, true],
    ['ws', [{}, message], undefined, true],
    ['rpc', [message], undefined, true],
    ['graphql', field, resolver('Mutation'), true],
    ['graphql', field, resolver('Subscription'), true],
    ['graphql', field, resolver('Item'), false],
    ['http', [message], undefined, false],
    ['rmq', [message, {}], undefined, false],
    ['bull', [message], undefined, false],
  ] as const)('gets the context or the arguments in %s(%j)', (type, args, decorate, hasContext) => {
    given.length = 0;
    const { method, context } = handlerOf(key, type, args, decorate);
    expect(method.keys.beforeCall(context) ?? method.keys.ofCall([message, 5], context)).toBe('key');
    expect(given).toEqual([hasContext ? [context] : [message, 5]]);
  });

  it.each([
    [(m: { id: string }) => m.id, undefined, /returned undefined/],
    [() => '', '', /returned an empty string/],
    [() => [], '', /returned an empty array/],
    [() => ['a', undefined], '', /returned an array of a string, undefined/],
    [() => 5, '', /returned a number/],
    [async () => 'a', '', /returned a Promise/],
    [
      (m: { id: string }) => m.id.trim(),
      undefined,
      /failed: Cannot read properties of undefined \(reading 'trim'\)/,
    ],
  ])(
    'that fails or returns no key is named in the error, with the types of its arguments (%s)',
    (bad, _shown, text) => {
      const { method, context } = handlerOf(bad as () => string, ...http);
      expect(() => method.keys.beforeCall(context)).toThrow(LockKeyError);
      expect(() => method.keys.beforeCall(context)).toThrow(text);
      expect(() => method.keys.beforeCall(context)).toThrow(
        /key function of Shop\.handle.*called with the ExecutionContext of a 'http' handler\.$/,
      );
      const other = handlerOf(bad as () => string, 'rmq', [{}]);
      expect(() => other.method.keys.ofCall([{ secret: 1 }, null, 'b'], other.context)).toThrow(
        /called with the method's own arguments \(an object, null, a string\)\.$/,
      );
    },
  );

  it('may throw an error of its own', () => {
    const own = new Error('not this one');
    const { method, context } = handlerOf(
      () => {
        throw own;
      },
      ...http,
    );
    expect(() => method.keys.beforeCall(context)).toThrow(own);
  });
});

describe('The keys of a call', () => {
  class Shop {
    async all(
      @Param('id') _id: string,
      @Body('item') _item: object,
      @Query() _query: object,
      @Headers('X-Tenant') _tenant: string,
      @Ip() _ip: string,
    ): Promise<void> {}
    @MessagePattern('m')
    async message(@Payload() _message: object): Promise<void> {}
    async none(_id: string): Promise<void> {}
  }
  const args = ['7', { id: 5 }, { q: 'x' }, 'acme', '::1'];
  const keysOf = (key: string, name: keyof Shop, given: unknown[], context?: ExecutionContext): unknown => {
    const descriptor = { value: async (): Promise<void> => {} };
    (ReplicaLocked(key) as MethodDecorator)(Shop.prototype, name, descriptor as never);
    return (Reflect.getMetadata(LOCKED_METHOD, descriptor.value) as LockedMethod).keys.ofCall(given, context);
  };

  it.each([
    ['order:{0}:{1.id}', 'all', 'order:7:5'],
    // Without a request the decorators say which argument carries a name.
    ['{params.id}:{body.item.id}:{query.q}:{headers.x-tenant}:{ip}', 'all', '7:5:x:acme:%3A%3A1'],
    ['{data.id}', 'message', 'm'],
    ['{0.id}', 'message', 'm'],
  ] as const)('of %s as a plain method', (key, name, keys) => {
    expect(keysOf(key, name, name === 'message' ? [{ id: 'm' }] : args)).toBe(keys);
  });

  it.each([
    ['{params.id}', 'none', /Shop\.none.*called as a plain method.*which of its arguments is \{params\.id\}/],
    ['{params.other}', 'all', /which of its arguments is \{params\.other\}/],
    ['{user.id}', 'all', /which of its arguments is \{user\.id\}/],
  ] as const)('of %s are refused if no argument carries it', (key, name, text) => {
    expect(() => keysOf(key, name, args)).toThrow(text);
  });

  it('of a handler are the caller’s fault if the request decides the value', () => {
    const context = new ExecutionContextHost([request, {}], Shop, Shop.prototype.all);
    const fault = (fromRequest: boolean): unknown => expect.objectContaining({ fromRequest });
    expect(() => keysOf('{1.no}', 'all', args, context)).toThrow(fault(true));
    expect(() => keysOf('{4.no}', 'all', args, context)).toThrow(fault(false));
    expect(() => keysOf('{1.no}', 'all', args)).toThrow(fault(false));
  });
});
