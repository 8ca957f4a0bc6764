import { checkElectOptions, type ElectOptions } from '../lock/election-options.js';
import { keyOf } from '../lock/keys.js';
import { demandOptions } from '../lock/option-kinds.js';
import { checkLockOptions } from '../lock/options.js';
import { checkAt, checkInstanceName } from './definition-checks.js';
import type { Original } from './handler-frames.js';

/** Metadata of a function and of a property that belong to an election: the `LeaderMethod`. */
export const LEADER_METHOD = 'nestjs-replica-lock:leader-method';

/** The options of `@LeaderOnly` and `@WhileLeader`. */
export interface LeaderOptions extends ElectOptions {
  /**
   * The name of the module instance whose `LockService` stands for the election.
   *
   * @default the unnamed instance
   */
  name?: string | undefined;
}

/** One method of a leader: everything that its decorator says. */
export interface LeaderMethod {
  readonly decorator: '@LeaderOnly' | '@WhileLeader';
  /** Class and method, for messages. */
  readonly name: string;
  readonly key: string;
  /** Undefined if none is given: those of another method of the election then count. */
  readonly options: ElectOptions | undefined;
  /** The name of the module instance; undefined for the unnamed one. */
  readonly instanceName: string | undefined;
}

/** Metadata that Nest's packages put on handlers: routes, messages, GraphQL, events of gateways. */
const HANDLER_METADATA = [
  'path',
  'microservices:pattern',
  'message',
  'graphql:resolver_type',
  'graphql:resolve_property',
];

/**
 * Checks a decorated method when its class is defined. Throws `TypeError` for anything but an
 * instance method of a provider, `LockKeyError` and `LockOptionsError` for a bad key or option.
 */
export function leaderMethod(
  decorator: LeaderMethod['decorator'],
  target: object,
  property: string | symbol,
  descriptor: PropertyDescriptor | undefined,
  key: string,
  given: LeaderOptions,
): { readonly method: LeaderMethod; readonly original: Original } {
  const owner = typeof target === 'function' ? target.name : target.constructor.name;
  const name = typeof property === 'object' ? owner : `${owner}.${String(property)}`;
  const refuse = (why: string): never => {
    throw new TypeError(`${decorator} on ${name}: ${why}`);
  };
  // A standard decorator is called with the method and a context object.
  if (typeof property === 'object')
    refuse("set experimentalDecorators in tsconfig.json, as Nest's own decorators need it.");
  if (typeof target === 'function') refuse('a static method has no instance. Use an instance method.');
  const original: unknown = descriptor?.value;
  if (typeof original !== 'function') return refuse('only a method can be the work of a leader.');
  if (Object.prototype.toString.call(original) === '[object GeneratorFunction]')
    refuse('a synchronous generator does nothing by itself. Make it an async method or an async generator.');
  if (Reflect.hasMetadata(LEADER_METHOD, original) || Reflect.hasOwnMetadata(LEADER_METHOD, target, property))
    refuse('the method belongs to an election already.');
  if (typeof key === 'string' && /[{}]/.test(key))
    refuse(
      `the key '${key}' looks like a template. An election begins before any call, so its key is a fixed text.`,
    );
  checkAt(`${decorator} on ${name}`, () => demandOptions(given));
  const { name: instanceName, ...options } = given;
  const hasOptions = Object.keys(options).length > 0;
  const method: LeaderMethod = {
    decorator,
    name,
    key: keyOf(key),
    options: hasOptions ? options : undefined,
    instanceName,
  };
  refuseHandler(method, original as Original);
  checkAt(`${decorator} on ${name}`, () => {
    checkInstanceName(instanceName);
    checkLockOptions(checkElectOptions(key, options).lock);
  });
  // A decorator above may replace the function.
  Reflect.defineMetadata(LEADER_METHOD, method, target, property);
  return { method, original: original as Original };
}

/** One decorated method of a class. */
export interface FoundLeaderMethod {
  readonly property: string | symbol;
  readonly handler: Original;
  readonly method: LeaderMethod;
}

/**
 * The decorated methods of the prototype, inherited methods included. A method that overrides a
 * decorated method needs a decorator of its own.
 */
export function leaderMethodsOf(prototype: unknown): FoundLeaderMethod[] {
  const found = new Map<string | symbol, FoundLeaderMethod | undefined>();
  for (let at = prototype; typeof at === 'object' && at !== null; at = Object.getPrototypeOf(at)) {
    for (const property of Reflect.ownKeys(at)) {
      if (found.has(property)) continue;
      const handler = Object.getOwnPropertyDescriptor(at, property)?.value as Original | undefined;
      const method =
        typeof handler === 'function'
          ? (Reflect.getMetadata(LEADER_METHOD, handler) ??
            Reflect.getOwnMetadata(LEADER_METHOD, at, property))
          : undefined;
      found.set(property, method && { property, handler: handler!, method: method as LeaderMethod });
    }
  }
  return [...found.values()].filter((each) => each !== undefined);
}

/**
 * Throws `TypeError` if the function is a handler: a caller of a copy that does not lead would get
 * an empty answer and no error.
 */
export function refuseHandler({ decorator, name }: LeaderMethod, handler: Original): void {
  if (HANDLER_METADATA.every((metadata) => !Reflect.hasMetadata(metadata, handler))) return;
  throw new TypeError(
    `${decorator} on ${name}: a handler that Nest calls for a request cannot be left to the leader, ` +
      'because a caller of another copy would get an empty answer. Use it on a method of a provider, or LockElection.isLeader.',
  );
}
