import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';

const root = process.cwd();
const entries = ['index', 'health/index', 'telemetry/index', 'testing/index'];

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

/** What each entry exports, in alphabetical order; private members are nobody's business. */
function report(): Record<string, string> {
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
  return Object.fromEntries(
    entries.map((entry) => {
      const module = checker.getSymbolAtLocation(program.getSourceFile(pathOf(entry))!)!;
      const texts = checker.getExportsOfModule(module).map((symbol) => {
        const actual = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
        return (actual.declarations ?? [])
          .map((declaration) => {
            const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
            return node.getText().replaceAll(/^\s*(static )?(private|#).*\n/gm, '');
          })
          .join('\n');
      });
      return [entry, texts.toSorted((a, b) => nameIn(a).localeCompare(nameIn(b))).join('\n\n')];
    }),
  );
}

function nameIn(declaration: string): string {
  return /(?:class|interface|type|function|const) (\w+)/.exec(declaration)?.[1] ?? declaration;
}

describe('The public face', () => {
  // Changed on purpose? `npm test -- test/public-api -u`, and an entry in CHANGELOG.md.
  it('is the one that was announced', () => {
    const face = report();
    expect(Object.values(face).every((text) => text.length > 100)).toBe(true);
    for (const entry of entries) expect(face[entry]).toMatchSnapshot(entry);
  }, 60_000);
});
