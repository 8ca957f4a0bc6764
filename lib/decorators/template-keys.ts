import type { ExecutionContext } from '@nestjs/common';
import { LockKeyError } from '../lock/errors.js';
import type { LockKeys } from '../lock/keys.js';
import type { ArgumentDecorators } from './argument-decorators.js';
import { kindOf, REQUEST_ROOTS, requestRoot, rootsOf, type HandlerKind } from './handler-context.js';
import { valueAt, type FindPlace, type KeyTemplate, type Place, type PlaceValue } from './key-template.js';
import type { MethodKeys } from './method-keys.js';

/**
 * The keys of a method that templates name: finds the value of each place, in the request or among
 * the arguments.
 */
export class TemplateKeys implements MethodKeys {
  readonly label: string;
  /** Whether a place names one of the method's own arguments. */
  private readonly hasArguments: boolean;
  /** The places that name a part of the request's body. */
  private readonly bodyPlaces: readonly Place[];

  constructor(
    private readonly templates: readonly KeyTemplate[],
    /** Class and method, for messages. */
    private readonly method: string,
    private readonly decorators: ArgumentDecorators,
  ) {
    this.label = templates.map(({ text }) => text).join(' ');
    const places = templates.flatMap((template) => template.places);
    this.hasArguments = places.some(({ argument }) => argument !== undefined);
    this.bodyPlaces = places.filter(({ root }) => root === 'body');
  }

  /**
   * Undefined if a place names an argument, or a part of an HTTP body that the request does not
   * have yet: an interceptor may be about to read the body (an upload).
   */
  beforeCall(context: ExecutionContext): LockKeys | undefined {
    if (this.hasArguments) return undefined;
    const kind = kindOf(context);
    const isUnread = ({ path }: Place): boolean =>
      valueAt(requestRoot('body', kind, context), path) === undefined;
    if (kind === 'http' && this.bodyPlaces.some(isUnread)) return undefined;
    return this.fill((place) => this.partOfRequest(place, kind, context));
  }

  ofCall(args: readonly unknown[], context: ExecutionContext | undefined): LockKeys {
    return this.fill((place) => {
      if (place.argument !== undefined) {
        const isFromRequest = context !== undefined && this.decorators.isFromRequest(place.argument);
        return { value: valueAt(args[place.argument], place.path), isFromRequest };
      }
      return context === undefined
        ? this.partOfArguments(place, args)
        : this.partOfRequest(place, kindOf(context), context);
    });
  }

  private fill(find: FindPlace): LockKeys {
    const { templates } = this;
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

  /**
   * A call as a plain method has no request: the decorators say which argument carries the part.
   */
  private partOfArguments(place: Place, args: readonly unknown[]): PlaceValue {
    const found = this.decorators.find(place.root, place.path);
    if (found !== undefined) return { value: valueAt(args[found.index], found.path), isFromRequest: false };
    return this.refuse(
      `it was called as a plain method, without a request, and no decorator says which of its arguments is {${place.text}}. Decorate that argument, or name it by its number ({0.id})`,
    );
  }

  /**
   * The route, not the caller, decides which parameters exist: a missing one is the program's
   * fault.
   */
  private demandParameter({ path: [name], text }: Place, params: unknown): void {
    const known = typeof params === 'object' && params !== null ? params : {};
    if (name === undefined || name in known) return;
    const names = Object.keys(known);
    this.refuse(
      `there is no {${text}}, the route has ${names.length === 0 ? 'no parameter' : `only ${names.map((each) => `{params.${each}}`).join(', ')}`}`,
    );
  }

  private refuse(why: string): never {
    const texts = this.templates.map(({ text }) => text);
    throw new LockKeyError(texts, `Lock '${texts.join("', '")}' of ${this.method} was not taken: ${why}.`);
  }
}
