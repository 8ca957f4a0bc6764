import { LockKeyError } from '../lock/errors.js';
import { REQUEST_ROOTS } from './handler-context.js';

/** The most characters of a place's value, after percent-encoding. */
const LONGEST_VALUE = 256;
const UNREACHABLE = new Set(['__proto__', 'prototype', 'constructor']);
/** Values that `encodeURIComponent` does not change. */
const NEEDS_NO_ENCODING = /^[\w.~-]+$/;

/** A pair of braces in a template: `{params.id}`, `{0.id}`. */
export interface Place {
  /** The text between the braces. */
  readonly text: string;
  /** The first name: `params`. */
  readonly root: string;
  /** The names to follow inside the root: `id`. */
  readonly path: readonly string[];
  /** The index of the method's own argument; undefined for a part of the request. */
  readonly argument: number | undefined;
}

/** The value of a place in one call. */
export interface PlaceValue {
  readonly value: unknown;
  /** Whether the caller's request decided the value. */
  readonly isFromRequest: boolean;
}

/** Finds the value of a place. Throws `LockKeyError` if the place cannot have one in this call. */
export type FindPlace = (place: Place) => PlaceValue;

/**
 * A key with places in braces. A number is the method's own argument (`order:{0.id}`), a name is a
 * part of the request (`order:{params.id}`). `{{` and `}}` stand for literal braces. A template is
 * parsed when the class is defined, so that a mistake shows at start.
 */
export class KeyTemplate {
  private readonly parts: readonly (string | Place)[];

  /** Throws `LockKeyError` if the template cannot be read. */
  constructor(
    readonly text: string,
    /** Class and method that the template locks, for messages. */
    private readonly owner: string,
  ) {
    this.parts = parse(text, owner);
  }

  get places(): readonly Place[] {
    return this.parts.filter((part) => typeof part !== 'string');
  }

  /**
   * The key with every place filled in. Values are percent-encoded, so that input can neither forge
   * another key nor move the key to another hash slot. Throws `LockKeyError` for a value that is
   * undefined, null, empty, an object or too long.
   */
  fill(find: FindPlace): string {
    let key = '';
    for (const part of this.parts) key += typeof part === 'string' ? part : this.encoded(part, find(part));
    return key;
  }

  private encoded(place: Place, { value, isFromRequest }: PlaceValue): string {
    const problem = problemWith(value);
    if (problem !== undefined) return this.refuse(place, problem, isFromRequest);
    const text = String(value);
    let encoded = text;
    if (!NEEDS_NO_ENCODING.test(text)) {
      try {
        encoded = encodeURIComponent(text);
      } catch {
        return this.refuse(place, 'not well-formed Unicode', isFromRequest);
      }
    }
    if (encoded.length <= LONGEST_VALUE) return encoded;
    return this.refuse(
      place,
      `${encoded.length} characters long (${LONGEST_VALUE} are the most)`,
      isFromRequest,
    );
  }

  private refuse(place: Place, problem: string, fromRequest: boolean): never {
    throw new LockKeyError(
      [this.text],
      `Lock '${this.text}'${fromRequest ? '' : ` of ${this.owner}`} was not taken: the value for {${place.text}} is ${problem}. The value must be a string, a number, a bigint or a boolean.`,
      fromRequest ? problemForCaller(place, problem) : undefined,
    );
  }
}

/** Follows the names of a path. Properties that every object inherits are out of reach. */
export function valueAt(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const name of path) {
    if (found === undefined || found === null || UNREACHABLE.has(name)) return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return found;
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
      if (literal !== '') parts.push(literal);
      literal = '';
      parts.push(placeOf(template.slice(at + 1, end), unreadable));
      at = end;
    } else literal += char;
  }
  if (literal !== '') parts.push(literal);
  if (parts.length === 0) unreadable('it is empty');
  if (!template.isWellFormed()) unreadable('it is not well-formed Unicode');
  return parts;
}

function placeOf(text: string, unreadable: (why: string) => never): Place {
  const [root = '', ...path] = text.split('.');
  const argument = /^\d+$/.test(root) ? Number(root) : undefined;
  if (argument === undefined && !Object.hasOwn(REQUEST_ROOTS, root)) {
    unreadable(
      `the place {${text}} begins with none of ${Object.keys(REQUEST_ROOTS).join(', ')}, and with no number of an argument`,
    );
  }
  if (path.includes('')) unreadable(`the place {${text}} has an empty name`);
  // Node.js keeps header names in lower case.
  if (root === 'headers' && path[0] !== undefined) path[0] = path[0].toLowerCase();
  return { text, root, path, argument };
}

/**
 * The problem in words for the caller of the request. An argument's number is left out: the caller
 * does not know the method.
 */
function problemForCaller({ argument, text }: Place, problem: string): string {
  const what = argument === undefined ? `The value of ${text}` : 'A value';
  return `${what} in this request is ${problem}. The value must be a string, a number or a boolean.`;
}

function problemWith(value: unknown): string | undefined {
  if (value === undefined || value === null) return String(value);
  if (value === '') return 'empty';
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : String(value);
  if (typeof value === 'string' || typeof value === 'bigint' || typeof value === 'boolean') return undefined;
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`;
}
