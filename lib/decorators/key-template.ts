import type { ExecutionContext } from '@nestjs/common';
import { LockKeyError } from '../lock/errors.js';

/** Longest value of a place, once it is encoded. */
const LONGEST_VALUE = 256;
/** What a place of a handler's template may begin with; whether the caller's request decides what is there. */
const REQUEST_ROOTS: Readonly<Record<string, boolean>> = {
  params: true,
  query: true,
  body: true,
  headers: true,
  args: true,
  data: true,
  user: false,
  ip: false,
};
const UNREACHABLE = new Set(['__proto__', 'prototype', 'constructor']);

interface Place {
  readonly text: string;
  readonly root: string;
  readonly path: readonly string[];
}

/** Where the places of a template find their values. */
export type PlaceSource =
  | { readonly kind: 'handler'; readonly context: ExecutionContext }
  | { readonly kind: 'method'; readonly args: readonly unknown[] };

/**
 * A key with places in braces: `order:{params.id}` on a handler, `order:{0.id}` on a provider method; `{{` and `}}` stand for braces. Parsed when the class is
 * defined, so that a mistake shows at start.
 */
export class KeyTemplate {
  private readonly parts: readonly (string | Place)[];

  /** Throws `LockKeyError` where the template cannot be read. */
  constructor(
    private readonly template: string,
    /** Class and method that it locks, for messages. */
    private readonly owner: string,
  ) {
    this.parts = parse(template, owner);
  }

  /**
   * The key with every place filled in. Values are percent-encoded, so that input can neither forge another key nor move it to another hash slot. Throws `LockKeyError` for a
   * value that is undefined, null, empty, an object or too long.
   */
  fill(source: PlaceSource): string {
    return this.parts.map((part) => (typeof part === 'string' ? part : this.valueOf(part, source))).join('');
  }

  private valueOf(place: Place, source: PlaceSource): string {
    const fromRequest = source.kind === 'handler' && REQUEST_ROOTS[place.root] === true;
    let value = this.rootOf(place, source);
    if (fromRequest && place.root === 'params') this.demandParameter(place, value);
    for (const name of place.path) value = UNREACHABLE.has(name) ? undefined : propertyOf(value, name);
    const problem = problemWith(value);
    if (problem !== undefined) this.refuse(place, problem, fromRequest);
    let encoded: string;
    try {
      encoded = encodeURIComponent(String(value));
    } catch {
      return this.refuse(place, 'text that is no valid Unicode', fromRequest);
    }
    if (encoded.length > LONGEST_VALUE) {
      this.refuse(place, `${encoded.length} characters long (${LONGEST_VALUE} are the most)`, fromRequest);
    }
    return encoded;
  }

  private rootOf({ root, text }: Place, source: PlaceSource): unknown {
    const isArgument = /^\d+$/.test(root);
    if (source.kind === 'method') {
      if (isArgument) return source.args[Number(root)];
      throw new LockKeyError(
        [this.template],
        `Lock '${this.template}': the place {${text}} needs a request, but ${this.owner} was called as a plain method. Use its arguments ({0.id}).`,
      );
    }
    if (isArgument) {
      throw new LockKeyError(
        [this.template],
        `Lock '${this.template}': the place {${text}} names a method's argument, but ${this.owner} is a handler. Use {params...}, {query...}, {body...}, {headers...}, {user...} or {ip}.`,
      );
    }
    return requestRoot(root, source.context);
  }

  /** The route decides which parameters there are, not the caller. */
  private demandParameter({ path: [name], text }: Place, params: unknown): void {
    const known = typeof params === 'object' && params !== null ? params : {};
    if (name === undefined || name in known) return;
    const names = Object.keys(known);
    throw new LockKeyError(
      [this.template],
      `Lock '${this.template}' of ${this.owner} was not taken: there is no {${text}}, the route has ${names.length === 0 ? 'no parameter' : `only ${names.map((each) => `{params.${each}}`).join(', ')}`}.`,
    );
  }

  private refuse(place: Place, problem: string, fromRequest: boolean): never {
    throw new LockKeyError(
      [this.template],
      `Lock '${this.template}'${fromRequest ? '' : ` of ${this.owner}`} was not taken: the value for {${place.text}} is ${problem}. It must be a text, a number, a bigint or a boolean.`,
      fromRequest
        ? `The value of ${place.text} in this request is ${problem}. It must be a text, a number or a boolean.`
        : undefined,
    );
  }
}

function parse(template: string, owner: string): (string | Place)[] {
  const parts: (string | Place)[] = [];
  let literal = '';
  const unreadable = (why: string): never => {
    throw new LockKeyError(
      [template],
      `The key template '${template}' of ${owner} cannot be read: ${why}. Literal braces are written {{ and }}.`,
    );
  };
  for (let at = 0; at < template.length; at++) {
    const char = template[at]!;
    if ((char === '{' || char === '}') && template[at + 1] === char) {
      literal += char;
      at++;
    } else if (char === '}') unreadable('a } has no {');
    else if (char === '{') {
      const end = template.indexOf('}', at);
      if (end < 0) unreadable('a { has no }');
      const text = template.slice(at + 1, end);
      const [root = '', ...path] = text.split('.');
      if (!/^\d+$/.test(root) && !Object.hasOwn(REQUEST_ROOTS, root)) {
        unreadable(
          `the place {${text}} begins with none of ${Object.keys(REQUEST_ROOTS).join(', ')}, and with no argument's number`,
        );
      }
      if (path.includes('')) unreadable(`the place {${text}} has an empty name`);
      if (literal !== '') parts.push(literal);
      literal = '';
      parts.push({ text, root, path });
      at = end;
    } else literal += char;
  }
  if (literal !== '') parts.push(literal);
  if (parts.length === 0) unreadable('it is empty');
  if (!template.isWellFormed()) unreadable('it is no well-formed Unicode');
  return parts;
}

interface RequestLike {
  readonly [name: string]: unknown;
}

function requestRoot(root: string, context: ExecutionContext): unknown {
  const type = context.getType<string>();
  if (type === 'graphql') {
    const [, args, graphql] = context.getArgs<[unknown, unknown, { req?: RequestLike } | undefined]>();
    return root === 'args' ? args : graphql?.req?.[root];
  }
  if (type === 'ws') {
    return root === 'data'
      ? context.switchToWs().getData<unknown>()
      : context.switchToWs().getClient<RequestLike>()[root];
  }
  if (type === 'rpc') return root === 'data' ? context.switchToRpc().getData<unknown>() : undefined;
  return context.switchToHttp().getRequest<RequestLike>()[root];
}

function propertyOf(value: unknown, name: string): unknown {
  return value === undefined || value === null ? undefined : (value as Record<string, unknown>)[name];
}

function problemWith(value: unknown): string | undefined {
  if (value === undefined || value === null) return String(value);
  if (value === '') return 'empty';
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : String(value);
  if (typeof value === 'string' || typeof value === 'bigint' || typeof value === 'boolean') return undefined;
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`;
}
