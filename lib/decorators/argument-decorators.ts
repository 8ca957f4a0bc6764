/** Metadata in which Nest keeps the parameter decorators of a class's methods. */
const ROUTE_ARGUMENTS = '__routeArguments__';

/** The number by which Nest's parameter decorators of each root are kept: `@Body()`, `@Payload()` and `@Args()` share one. */
const PARAMTYPE: Readonly<Record<string, string>> = {
  body: '3',
  data: '3',
  args: '3',
  query: '4',
  params: '5',
  headers: '6',
  ip: '11',
};
const FROM_REQUEST: ReadonlySet<string> = new Set(['3', '4', '5', '6']);

interface DecoratedArgument {
  readonly index: number;
  /** Nest's number, or the name of a custom decorator. */
  readonly paramtype: string;
  /** What the decorator asks for, such as `id` in `@Param('id')`; undefined: all of it. */
  readonly name: string | undefined;
  /** What finds the value of a custom decorator's argument. */
  readonly factory: unknown;
}

/** What the parameter decorators of a method say about its arguments. */
export class ArgumentDecorators {
  private found: readonly DecoratedArgument[] | undefined;

  constructor(
    private readonly target: object,
    private readonly property: string | symbol,
  ) {}

  /** The argument that carries a part of the request: its index, and what of the path is left to follow in it. */
  find(root: string, path: readonly string[]): { index: number; path: readonly string[] } | undefined {
    const ofRoot = this.arguments.filter(({ paramtype }) => paramtype === PARAMTYPE[root]);
    const named = ofRoot.find(({ name }) => name !== undefined && nameOf(root, name) === path[0]);
    if (named !== undefined) return { index: named.index, path: path.slice(1) };
    const whole = ofRoot.find(({ name }) => name === undefined);
    return whole && { index: whole.index, path };
  }

  /** Whether a handler's argument comes from its caller's request, as far as the decorators tell. */
  isFromRequest(index: number): boolean {
    const argument = this.arguments.find((each) => each.index === index);
    return argument === undefined || FROM_REQUEST.has(argument.paramtype);
  }

  /** The index of the argument that the custom decorator with this factory stands on. */
  indexOf(factory: unknown): number | undefined {
    return this.arguments.find((each) => each.factory === factory)?.index;
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

/** Names of headers are lower case in a request, whatever the decorator writes. */
function nameOf(root: string, name: string): string {
  return root === 'headers' ? name.toLowerCase() : name;
}
