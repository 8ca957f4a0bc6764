/** Nest's name for the metadata of the parameter decorators of a class's methods. */
const ROUTE_ARGUMENTS = '__routeArguments__';

/**
 * Nest's number for the parameter decorators that carry each root of a template. `@Body()`,
 * `@Payload()` and `@Args()` share one number.
 */
const PARAMTYPE: Readonly<Record<string, string>> = {
  body: '3',
  data: '3',
  args: '3',
  query: '4',
  params: '5',
  headers: '6',
  ip: '11',
};
/** `@Res()` and `@Next()`. */
const WRITES_RESPONSE: ReadonlySet<string> = new Set(['1', '2']);
/** Nest's name for the metadata of a method with `@Res({ passthrough: true })`. */
const PASSTHROUGH = '__responsePassthrough__';
const FROM_REQUEST: ReadonlySet<string> = new Set(['3', '4', '5', '6']);

interface DecoratedArgument {
  readonly index: number;
  /** Nest's number for its own decorators, or the name of a custom decorator. */
  readonly paramtype: string;
  /**
   * The name that the decorator asks for, such as `id` in `@Param('id')`. Undefined: everything.
   */
  readonly name: string | undefined;
  /** The function that a custom decorator was made with. */
  readonly factory: unknown;
}

/** Reads from the parameter decorators of a method what its arguments carry. */
export class ArgumentDecorators {
  private found: readonly DecoratedArgument[] | undefined;

  constructor(
    private readonly target: object,
    private readonly property: string | symbol,
  ) {}

  /**
   * Finds the argument that carries a part of the request: its index, and the rest of the path to
   * follow inside the argument.
   */
  find(root: string, path: readonly string[]): { index: number; path: readonly string[] } | undefined {
    const ofRoot = this.arguments.filter(({ paramtype }) => paramtype === PARAMTYPE[root]);
    const named = ofRoot.find(({ name }) => name !== undefined && nameOf(root, name) === path[0]);
    if (named !== undefined) return { index: named.index, path: path.slice(1) };
    const whole = ofRoot.find(({ name }) => name === undefined);
    return whole && { index: whole.index, path };
  }

  /**
   * Whether a handler's argument comes from the caller's request. True for an argument without a
   * decorator: some contexts pass their message in it.
   */
  isFromRequest(index: number): boolean {
    const argument = this.arguments.find((each) => each.index === index);
    return argument === undefined || FROM_REQUEST.has(argument.paramtype);
  }

  /** The index of the argument whose custom decorator was made with this factory. */
  indexOf(factory: unknown): number | undefined {
    return this.arguments.find((each) => each.factory === factory)?.index;
  }

  /**
   * True for the handler of an HTTP route that writes its response by itself: Nest then ignores what
   * the handler returns.
   */
  get writeResponse(): boolean {
    return (
      this.arguments.some(({ paramtype }) => WRITES_RESPONSE.has(paramtype)) &&
      Reflect.getMetadata(PASSTHROUGH, this.target.constructor, this.property) !== true
    );
  }

  private get arguments(): readonly DecoratedArgument[] {
    return (this.found ??= this.read());
  }

  private read(): readonly DecoratedArgument[] {
    const metadata = (Reflect.getMetadata(ROUTE_ARGUMENTS, this.target.constructor, this.property) ??
      {}) as Record<string, { index: number; data?: unknown; factory?: unknown }>;
    return Object.entries(metadata).map(([key, { index, data, factory }]) => ({
      index,
      paramtype: key.slice(0, key.lastIndexOf(':')),
      name: typeof data === 'string' ? data : undefined,
      factory,
    }));
  }
}

/** A request has header names in lower case, in whatever case the decorator writes them. */
function nameOf(root: string, name: string): string {
  return root === 'headers' ? name.toLowerCase() : name;
}
