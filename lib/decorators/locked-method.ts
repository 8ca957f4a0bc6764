import type { ExecutionContext } from '@nestjs/common';
import {
  LockKeyError,
  LockOptionsError,
  LockServiceClosedError,
  LockContendedError,
} from '../lock/errors.js';
import type { Lock } from '../lock/lock.js';
import type { LockKeys } from '../lock/lock-service.js';
import { checkLockOptions, KNOWN_OPTIONS, refuseUnknown, type WithLockOptions } from '../lock/options.js';
import { MOST_KEYS } from '../store/lock-store.js';
import { ArgumentDecorators } from './argument-decorators.js';
import { lockOfHandler } from './current-lock.decorator.js';
import { kindOf, REQUEST_ROOTS, requestRoot, rootsOf, type HandlerKind } from './handler-context.js';
import { KeyTemplate, valueAt, type Place, type PlaceValue } from './key-template.js';

/** What happens if the lock stays busy: the error, nothing, or what this function makes of the error. */
export type OnContended = 'throw' | 'skip' | ((error: LockContendedError) => unknown);

export interface ReplicaLockedOptions extends WithLockOptions {
  /** The named instance whose `LockService` takes the lock. Default: the unnamed one. */
  name?: string | undefined;
  /** `'throw'` (default): the error; `'skip'`: the method resolves undefined, for jobs; a function: its result. */
  onContended?: OnContended | undefined;
}

/**
 * A template, several, or a function: of the `ExecutionContext` on HTTP, WebSocket, microservice and GraphQL root handlers, of the method's own arguments everywhere else.
 */
export type KeySource<A extends unknown[]> = string | readonly string[] | ((...args: A) => LockKeys);

/** There is no `@CurrentLock()`. */
const NONE = -1;

type KeyFunction = (...args: readonly unknown[]) => LockKeys;

/** What `@ReplicaLocked` says of one method. */
export class LockedMethod {
  /** Class and method, for messages. */
  readonly name: string;
  readonly options: WithLockOptions;
  readonly instanceName: string | undefined;
  readonly onContended: OnContended;
  private readonly key: readonly KeyTemplate[] | KeyFunction;
  /** Its places that name arguments, and those that name a part of a request's body. */
  private readonly hasArguments: boolean;
  private readonly ofBody: readonly Place[];
  private readonly decorators: ArgumentDecorators;
  private lockIndex: number | undefined;
  private readonly kinds = new Map<string, HandlerKind>();

  constructor(
    target: object,
    readonly property: string | symbol,
    // oxlint-disable-next-line typescript/no-explicit-any -- whatever arguments the method has
    key: KeySource<any[]>,
    given: ReplicaLockedOptions,
  ) {
    this.name = `${target.constructor.name}.${String(property)}`;
    checkGiven(this.name, given);
    const { name: instanceName, onContended = 'throw', ...options } = given;
    this.instanceName = instanceName;
    this.onContended = onContended;
    this.decorators = new ArgumentDecorators(target, property);
    this.key = typeof key === 'function' ? key : templatesOf(key, this.name);
    this.options = Object.freeze({ label: labelOf(this.key) ?? this.name, ...options });
    const places = typeof this.key === 'function' ? [] : this.key.flatMap((template) => template.places);
    this.hasArguments = places.some(({ argument }) => argument !== undefined);
    this.ofBody = places.filter(({ root }) => root === 'body');
  }

  kindOf(context: ExecutionContext): HandlerKind {
    const type = context.getType<string>();
    let kind = this.kinds.get(type);
    if (kind === undefined) this.kinds.set(type, (kind = kindOf(context)));
    return kind;
  }

  /**
   * The keys of a handler before its pipes run, from the raw request. Undefined if only the method's call can tell them: they name its arguments, or a part of the body
   * that an interceptor has yet to read (an upload). Throws `LockKeyError`.
   */
  keysBeforeCall(context: ExecutionContext): LockKeys | undefined {
    const kind = this.kindOf(context);
    if (typeof this.key === 'function') {
      return kind === 'field' || kind === 'other'
        ? undefined
        : this.callKeyFunction(this.key, [context], `the ExecutionContext of a '${kind}' handler`);
    }
    const isUnread = ({ path }: Place): boolean =>
      valueAt(requestRoot('body', kind, context), path) === undefined;
    if (this.hasArguments || (kind === 'http' && this.ofBody.some(isUnread))) return undefined;
    return this.fill((place) => this.partOfRequest(place, kind, context));
  }

  /** The keys of a call of the method, in the handler of this context or as a plain method. Throws `LockKeyError`. */
  keysOfCall(args: readonly unknown[], context: ExecutionContext | undefined): LockKeys {
    if (typeof this.key === 'function') {
      return this.callKeyFunction(this.key, args, `the method's own arguments (${kindsOf(args)})`);
    }
    return this.fill((place) => {
      if (place.argument !== undefined) {
        const isFromRequest = context !== undefined && this.decorators.isFromRequest(place.argument);
        return { value: valueAt(args[place.argument], place.path), isFromRequest };
      }
      return context === undefined
        ? this.partOfArguments(place, args)
        : this.partOfRequest(place, this.kindOf(context), context);
    });
  }

  /** A handler's arguments with the lock for `@CurrentLock()`, whatever pipes made of what stood for it. */
  withLock(args: unknown[], lock: Lock): unknown[] {
    const index = this.indexOfLock;
    return index === NONE ? args : replaced(args, index, lock);
  }

  /** The arguments of a direct call, with the lock for `@CurrentLock()` if the caller gave none. */
  withMissingLock(args: unknown[], lock: Lock): unknown[] {
    const index = this.indexOfLock;
    return index === NONE || args[index] !== undefined ? args : replaced(args, index, lock);
  }

  private get indexOfLock(): number {
    return (this.lockIndex ??= this.decorators.indexOf(lockOfHandler) ?? NONE);
  }

  private fill(find: (place: Place) => PlaceValue): LockKeys {
    const templates = this.key as readonly KeyTemplate[];
    return templates.length === 1 ? templates[0]!.fill(find) : templates.map((each) => each.fill(find));
  }

  private partOfRequest(place: Place, kind: HandlerKind, context: ExecutionContext): PlaceValue {
    const { root, path, text } = place;
    if (!rootsOf(kind).includes(root)) {
      const known = rootsOf(kind).map((each) => `{${each}...}`);
      this.refuse(
        `there is no {${text}} in a '${context.getType<string>()}' handler, only ${known.join(', ')} and its arguments ({0})`,
      );
    }
    const part = requestRoot(root, kind, context);
    if (root === 'params') this.demandParameter(place, part);
    return { value: valueAt(part, path), isFromRequest: REQUEST_ROOTS[root] === true };
  }

  /** Called as a plain method there is no request; the decorators of the arguments tell which one carries that part of it. */
  private partOfArguments(place: Place, args: readonly unknown[]): PlaceValue {
    const found = this.decorators.find(place.root, place.path);
    if (found !== undefined) return { value: valueAt(args[found.index], found.path), isFromRequest: false };
    return this.refuse(
      `it was called as a plain method, without a request, and no decorator says which of its arguments is {${place.text}}. Decorate that argument, or name it by its number ({0.id})`,
    );
  }

  /** The route decides which parameters there are, not the caller. */
  private demandParameter({ path: [name], text }: Place, params: unknown): void {
    const known = typeof params === 'object' && params !== null ? params : {};
    if (name === undefined || name in known) return;
    const names = Object.keys(known);
    this.refuse(
      `there is no {${text}}, the route has ${names.length === 0 ? 'no parameter' : `only ${names.map((each) => `{params.${each}}`).join(', ')}`}`,
    );
  }

  private refuse(why: string): never {
    const templates = (this.key as readonly KeyTemplate[]).map(({ text }) => text);
    throw new LockKeyError(
      templates,
      `Lock '${templates.join("', '")}' of ${this.name} was not taken: ${why}.`,
    );
  }

  /** A function that was given something else than it expects fails, or returns no key: the error says what it was given. */
  private callKeyFunction(key: KeyFunction, args: readonly unknown[], given: string): LockKeys {
    let keys: unknown;
    try {
      keys = key(...args);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const failure = `The key function of ${this.name} failed: ${error.message}. It was called with ${given}.`;
      throw Object.assign(new LockKeyError([], failure), { cause: error });
    }
    const isText = (each: unknown): boolean => typeof each === 'string' && each !== '';
    if (isText(keys) || (Array.isArray(keys) && keys.length > 0 && keys.every(isText)))
      return keys as LockKeys;
    throw new LockKeyError(
      [],
      `The key function of ${this.name} returned ${shown(keys)}: it must be a text, or an array of texts, none of them empty. It was called with ${given}.`,
    );
  }
}

function replaced(args: readonly unknown[], index: number, value: unknown): unknown[] {
  const own = [...args];
  own[index] = value;
  return own;
}

function templatesOf(key: string | readonly string[], owner: string): readonly KeyTemplate[] {
  const texts: unknown = typeof key === 'string' ? [key] : key;
  if (!Array.isArray(texts) || texts.length === 0 || texts.some((each) => typeof each !== 'string')) {
    throw new LockKeyError(
      [],
      `@ReplicaLocked on ${owner} needs a key: a template, a non-empty array of them, or a function.`,
    );
  }
  if (texts.length > MOST_KEYS) {
    throw new LockKeyError(
      [],
      `@ReplicaLocked on ${owner} has ${texts.length} keys: ${MOST_KEYS} are the most. Lock one key that stands for all of them.`,
    );
  }
  return (texts as string[]).map((each) => new KeyTemplate(each, owner));
}

function labelOf(key: readonly KeyTemplate[] | KeyFunction): string | undefined {
  return typeof key === 'function' ? undefined : key.map(({ text }) => text).join(' ');
}

/** What kind each of the values is, and never the value: it may be a secret. */
function kindsOf(values: readonly unknown[]): string {
  return values.length === 0 ? 'none' : values.map(kindOfValue).join(', ');
}

function kindOfValue(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== 'object') return `a ${typeof value}`;
  const { name } = (value.constructor ?? Object) as { name?: unknown };
  return Array.isArray(value) ? 'an array' : name === 'Object' ? 'an object' : `a ${String(name)}`;
}

function shown(keys: unknown): string {
  if (keys === '') return 'an empty text';
  if (!Array.isArray(keys)) return kindOfValue(keys);
  return keys.length === 0
    ? 'an empty array'
    : `an array of ${keys.map((each) => (each === '' ? 'an empty text' : kindOfValue(each))).join(', ')}`;
}

/** Throws `LockOptionsError` that names the method: a mistake in the source shows at definition, not at the first call. */
function checkGiven(where: string, given: ReplicaLockedOptions): void {
  try {
    refuseUnknown(given, [...KNOWN_OPTIONS, 'name', 'onContended']);
    const { name, onContended, ...options } = given;
    if (name !== undefined && typeof name !== 'string')
      throw LockOptionsError.notAccepted('name', name, 'the name of an instance');
    if (
      onContended !== undefined &&
      !['throw', 'skip'].includes(onContended as string) &&
      typeof onContended !== 'function'
    )
      throw LockOptionsError.notAccepted(
        'onContended',
        onContended,
        "'throw', 'skip' or a function of the error",
      );
    checkLockOptions(options);
  } catch (error) {
    if (!(error instanceof LockOptionsError)) throw error;
    throw new LockOptionsError(error.option, error.value, `@ReplicaLocked on ${where}: ${error.message}`);
  }
}

/** What a method makes of a lock that stayed busy; any other failure is thrown on. */
export function resultWhenContended({ onContended }: LockedMethod, error: unknown): unknown {
  // A job that skips a tick skips those of a shutdown, too: schedulers go on firing until its end.
  if (error instanceof LockServiceClosedError && onContended === 'skip') return undefined;
  if (!(error instanceof LockContendedError) || onContended === 'throw') throw error;
  return onContended === 'skip' ? undefined : onContended(error);
}
