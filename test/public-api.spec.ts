import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';

const root = process.cwd();
const entries = ['index', 'board/index', 'health/index', 'telemetry/index', 'testing/index'];

/** The declarations of the whole library as they are published, without comments. */
function emitDeclarations(): Map<string, string> {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: object;
  };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const settings = {
    ...options,
    emitDeclarationOnly: true,
    declarationMap: false,
    sourceMap: false,
    removeComments: true,
  };
  const program = ts.createProgram(
    entries.map((entry) => join(root, 'lib', `${entry}.ts`)),
    settings,
  );
  const files = new Map<string, string>();
  program.emit(undefined, (path, text) => void files.set(path, text));
  return files;
}

interface Face {
  /** What each entry exports, in alphabetical order and without private members. */
  readonly texts: Record<string, string>;
  /** Types of this package that an exported declaration names, and that no entry exports. */
  readonly missing: readonly string[];
}

function report(): Face {
  const files = emitDeclarations();
  const settings: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    noLib: true,
  };
  const host = ts.createCompilerHost(settings);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists.call(host, path);
  host.readFile = (path) => files.get(path) ?? readFile.call(host, path);
  host.getSourceFile = (path, language, ...rest) => {
    const text = files.get(path);
    return text === undefined
      ? getSourceFile.call(host, path, language, ...rest)
      : ts.createSourceFile(path, text, language, true);
  };
  // Only our own files matter here.
  host.resolveModuleNameLiterals = (literals, from) =>
    literals.map(({ text }) => {
      const path = resolve(dirname(from), text.replace(/\.js$/, '.d.ts'));
      const found = { resolvedFileName: path, extension: ts.Extension.Dts };
      return { resolvedModule: files.has(path) ? found : undefined };
    });
  const pathOf = (entry: string): string => join(root, 'dist', `${entry}.d.ts`);
  const program = ts.createProgram(entries.map(pathOf), settings, host);
  const checker = program.getTypeChecker();
  const actualOf = (symbol: ts.Symbol): ts.Symbol =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const exported = new Set(
    entries.flatMap((entry) => {
      const module = checker.getSymbolAtLocation(program.getSourceFile(pathOf(entry))!)!;
      return checker.getExportsOfModule(module).map(actualOf);
    }),
  );
  const missing = [...exported].flatMap(({ name, declarations = [] }) =>
    declarations.flatMap((declaration) =>
      typeNamesIn(declaration)
        .map((node) => checker.getSymbolAtLocation(node))
        .map((symbol) => symbol && actualOf(symbol))
        .filter((symbol) => symbol !== undefined && isOwnType(symbol, files) && !exported.has(symbol))
        .map((symbol) => `${name} names ${symbol!.name}`),
    ),
  );
  const faces = Object.fromEntries(
    entries.map((entry) => {
      const module = checker.getSymbolAtLocation(program.getSourceFile(pathOf(entry))!)!;
      const texts = checker.getExportsOfModule(module).map((symbol) => {
        return (actualOf(symbol).declarations ?? [])
          .map((declaration) => {
            const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
            return node.getText().replaceAll(/^\s*(static )?(private|#).*\n/gm, '');
          })
          .join('\n');
      });
      return [entry, texts.toSorted((a, b) => nameIn(a).localeCompare(nameIn(b))).join('\n\n')];
    }),
  );
  return { texts: faces, missing };
}

/** The names of types, base classes and values in the types of a declaration. */
function typeNamesIn(declaration: ts.Node): ts.Node[] {
  const names: ts.Node[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isTypeReferenceNode(node)) names.push(node.typeName);
    else if (ts.isExpressionWithTypeArguments(node)) names.push(node.expression);
    else if (ts.isTypeQueryNode(node)) names.push(node.exprName);
    ts.forEachChild(node, visit);
  };
  visit(declaration);
  return names;
}

/** True for a type of this package; false for type parameters and types of other packages. */
function isOwnType({ flags, declarations = [] }: ts.Symbol, files: ReadonlyMap<string, string>): boolean {
  if (flags & ts.SymbolFlags.TypeParameter) return false;
  return declarations.some((declaration) => files.has(declaration.getSourceFile().fileName));
}

function nameIn(declaration: string): string {
  return /(?:class|interface|type|function|const) (\w+)/.exec(declaration)?.[1] ?? declaration;
}

describe('The public face', () => {
  const { texts, missing } = report();

  // Changed on purpose? `npm test -- test/public-api -u`, and an entry in CHANGELOG.md.
  it('is the one that was announced', () => {
    expect(Object.values(texts).every((text) => text.length > 100)).toBe(true);
    for (const entry of entries) expect(texts[entry]).toMatchSnapshot(entry);
  });

  it('exports every type that it names', () => {
    // The compiler prints the text of `Lockable` and `Keepable`. Their parts are of no use to a
    // caller.
    expect(missing).toEqual(['LockedDecorator names Lockable', 'OnceDecorator names Keepable']);
  });

  it('shows no method of LockService that only the module calls', () => {
    const [face] = /class LockService \{[^]*?^\}/m.exec(texts['index']!)!;
    expect(face).not.toMatch(
      /constructor|\b(enter|observe|open|drain|close|outside|checkOptions|listPage)\b/,
    );
  });
});
