import 'reflect-metadata';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ms from 'ms';
import ts from 'typescript';
import { parse as parseYaml } from 'yaml';

const root = process.cwd();
const documents = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

/** The TypeScript blocks of a document, each as a file of its own. */
function blocksOf(document: string): Map<string, string> {
  const text = readFileSync(join(root, document), 'utf8');
  return new Map(
    [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = ''], i) => [
      `${document.replaceAll('/', '-')}-${i + 1}.ts`,
      code,
    ]),
  );
}

/**
 * The compiler's errors, by the project's options. The name of the package leads to the sources.
 */
function complaints(blocks: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: object;
  };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const settings: ts.CompilerOptions = {
    ...options,
    rootDir: root,
    noEmit: true,
    isolatedModules: false,
    declaration: false,
    declarationMap: false,
    // The test runners of generated projects have these globals.
    types: ['node', 'jest'],
    paths: {
      'nestjs-replica-lock': [join(root, 'lib/index.ts')],
      'nestjs-replica-lock/*': [join(root, 'lib/*/index.ts')],
    },
  };
  const host = ts.createCompilerHost(settings);
  const pathOf = (name: string): string => join(root, 'docs', name);
  const files = new Map([...blocks].map(([name, code]) => [pathOf(name), code]));
  const { readFile, fileExists, getSourceFile } = host;
  host.readFile = (path) => files.get(path) ?? readFile.call(host, path);
  host.fileExists = (path) => files.has(path) || fileExists.call(host, path);
  host.getSourceFile = (path, language, ...rest) => {
    const code = files.get(path);
    return code === undefined
      ? getSourceFile.call(host, path, language, ...rest)
      : ts.createSourceFile(path, code, language);
  };
  const ambient = join(root, 'test/support/documented-packages.d.ts');
  const program = ts.createProgram([ambient, ...files.keys()], settings, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const line =
      file === undefined
        ? ''
        : `${file.fileName.slice(root.length + 1)}:${file.getLineAndCharacterOfPosition(start).line + 1}: `;
    return line + ts.flattenDiagnosticMessageText(messageText, ' ');
  });
}

describe('The code in the documentation', () => {
  it('compiles, every block of it', () => {
    const blocks = new Map(documents.flatMap((document) => [...blocksOf(document)]));
    expect(blocks.size).toBeGreaterThan(20);
    // A block that does not compile shows that the test would notice one.
    blocks.set(
      'wrong.ts',
      "import { NoSuchThing } from 'nestjs-replica-lock';\nexport const x: NoSuchThing = 1;\n",
    );
    expect(complaints(blocks)).toEqual([expect.stringMatching(/^docs\/wrong\.ts:1: .*NoSuchThing/)]);
  }, 120_000);
});

describe('A call in the documentation', () => {
  it('has no lease that the default options refuse', () => {
    // The default of `quarantine` is the default of `leaseTime`.
    const longest = 15_000;
    const refused = documents
      .flatMap((document) => [...blocksOf(document)])
      .filter(([, code]) => !code.includes('quarantine:'))
      .flatMap(([name, code]) =>
        [...code.matchAll(/leaseTime: ('.*?'|[\d_]+)/g)].map(([, text = '']) => ({ name, text })),
      )
      .filter(({ text }) => ms(text.replaceAll(/['_]/g, '') as ms.StringValue) > longest);
    expect(refused).toEqual([]);
  });
});

describe('A link in the documentation', () => {
  it('leads to a file that is there, and to a heading in it', () => {
    const anchorsOf = (path: string): string[] =>
      [...readFileSync(path, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replaceAll(/[^\w\- ]/g, '')
          .replaceAll(' ', '-'),
      );
    for (const document of [
      ...documents,
      'CONTRIBUTING.md',
      'sample/README.md',
      'sample/observability/README.md',
    ]) {
      for (const [, target = ''] of readFileSync(join(root, document), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target)) continue;
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? join(root, document) : join(root, dirname(document), path);
        expect([document, target, existsSync(file)]).toEqual([document, target, true]);
        if (anchor !== undefined)
          expect([document, target, anchorsOf(file).includes(anchor)]).toEqual([document, target, true]);
      }
    }
  });
});

describe('A line of the documentation', () => {
  it.each([...documents, 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'sample/README.md'])(
    'has at most 160 characters: %s',
    (document) => {
      const lines = readFileSync(join(root, document), 'utf8').split('\n');
      expect(lines.filter(({ length }) => length > 160)).toEqual([]);
    },
  );
});

describe('A path in CONTRIBUTING', () => {
  it('leads to a file or folder, from the root or from lib/', () => {
    const text = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
    const paths = [...text.matchAll(/`([\w-]+(?:\/[\w.-]+)+)`/g)].map(([, path = '']) => path);
    expect(paths.length).toBeGreaterThan(30);
    const isThere = (path: string): boolean => {
      const inLib = join('lib', path.replace(/^redis\//, 'store/redis/'));
      return [path, inLib, `${inLib}.ts`].some((each) => existsSync(join(root, each)));
    };
    expect(paths.filter((path) => !isThere(path))).toEqual([]);
  });

  it('is followed by names that are in that file', () => {
    const text = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
    const ways = text.slice(text.indexOf('## Five ways'), text.indexOf('## How to add something'));
    const wrong: string[] = [];
    let names = 0;
    for (const item of ways.split(/^ *(?:\d\.|-) /m)) {
      let path: string | undefined;
      for (const [, code = ''] of item.matchAll(/`([^`]+)`/g)) {
        if (/^[\w-]+(?:\/[\w.-]+)+$/.test(code)) path = code.replace(/^redis\//, 'store/redis/');
        if (path === undefined || !/^\w+$/.test(code)) continue;
        names++;
        const source = readFileSync(join(root, 'lib', `${path}.ts`), 'utf8');
        if (!new RegExp(`\\b${code}\\b`).test(source)) wrong.push(`${path}: ${code}`);
      }
    }
    expect(names).toBeGreaterThan(50);
    expect(wrong).toEqual([]);
  });
});

describe('The page', () => {
  const page = (name: string): string => readFileSync(join(root, 'docs', `${name}.md`), 'utf8');

  it('options lists every option of the module with its default', async () => {
    const { MODULE_OPTIONS } = await import('../lib/module/options.js');
    const shown = (value: unknown): string =>
      typeof value === 'number'
        ? String(value).replace(/(?=000$)/, '_')
        : typeof value === 'string'
          ? `'${value}'`
          : String(value);
    // Defaults that are no fixed value, in words.
    const special: Record<string, string> = { connection: 'required', quarantine: '`leaseTime`' };
    const ofModule = page('options').split('## Of one acquisition')[0] ?? '';
    const rows = Object.entries(MODULE_OPTIONS).map(([name, option]) => {
      const { default: value } = option;
      return [`\`${name}\``, special[name] ?? (value === undefined ? 'none' : `\`${shown(value)}\``)];
    });
    const listed = [...ofModule.matchAll(/^- (`\w+`) \((\S+)\):/gm)].map(([, name, value]) => [name, value]);
    expect(listed).toEqual(expect.arrayContaining([...rows, ['`name`', 'none'], ['`isGlobal`', '`true`']]));
  });

  it('options names every option of a call', async () => {
    const { KNOWN_OPTIONS } = await import('../lib/lock/options.js');
    const ofCall = page('options').split('## Of one acquisition')[1] ?? '';
    for (const option of KNOWN_OPTIONS) expect(ofCall).toContain(`\`${option}\``);
  });

  it('errors names every error, and the page service every method', async () => {
    const face = await import('../lib/index.js');
    for (const name of Object.keys(face).filter((each) => each.endsWith('Error')))
      if (name !== 'ReplicaLockError') expect(page('errors')).toContain(`- **\`${name}\`**`);
    const methods = Object.getOwnPropertyNames(face.LockService.prototype).filter((name) =>
      [
        'acquire',
        'tryAcquire',
        'withLock',
        'inspect',
        'isLocked',
        'forceRelease',
        'current',
        'assertHeld',
        'held',
        'health',
      ].includes(name),
    );
    expect(methods).toHaveLength(10);
    for (const method of methods) expect(page('service')).toMatch(new RegExp(`\`${method}[\`(]`));
  });
});

describe('The compatibility table of the page production', () => {
  const page = readFileSync(join(root, 'docs/production.md'), 'utf8');
  const versionsOf = (what: string): string[][] =>
    [...page.matchAll(new RegExp(`^\\| ${what} +\\| ([^|]+?) +\\|`, 'gm'))].map(([, cell = '']) =>
      [...cell.matchAll(/\d[\d.]*/g)].map(String),
    );

  it('has the versions of Node and of the servers that the CI workflow runs', () => {
    const { jobs } = parseYaml(readFileSync(join(root, '.github/workflows/ci.yml'), 'utf8')) as {
      jobs: {
        check: { strategy: { matrix: { node: number[] } } };
        servers: { strategy: { matrix: { server: string[] } } };
      };
    };
    const servers = jobs.servers.strategy.matrix.server.map((image) => image.split(':'));
    const tagsOf = (name: string): string[] =>
      servers.filter(([image]) => image === name).map(([, tag = '']) => tag);
    expect(versionsOf('Node')).toEqual([jobs.check.strategy.matrix.node.map(String)]);
    expect(versionsOf('Redis')).toEqual([tagsOf('redis')]);
    expect(versionsOf('Valkey')).toEqual([tagsOf('valkey/valkey')]);
  });

  it('has the versions of Nest and ioredis that the tests and the matrix run', () => {
    const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    const majorOf = (name: string): string => /\d+/.exec(devDependencies[name] ?? '')?.[0] ?? '';
    const matrix = readFileSync(join(root, 'scripts/matrix.mjs'), 'utf8');
    const found = (pattern: RegExp): string[] => [
      ...new Set([...matrix.matchAll(pattern)].map(([, version = '']) => version)),
    ];
    expect(versionsOf('Nest')).toEqual([[majorOf('@nestjs/core')], found(/template: 'nest(\d+)/g)]);
    expect(versionsOf('ioredis')).toEqual([[majorOf('ioredis')], found(/ioredis: '([\d.]+)'/g)]);
  });
});

describe('The README', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');

  it('stays short: everything else stands in docs/', () => {
    expect(readme.split('\n').length).toBeLessThanOrEqual(195);
  });

  it('has badges that are true', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      license: string;
      types: string;
      engines: { node: string };
      peerDependencies: Record<string, string>;
    };
    const badges = [...readme.matchAll(/https:\/\/img\.shields\.io\/badge\/(\S+?)-blue\)/g)].map(
      ([, text = '']) => decodeURIComponent(text).split('-'),
    );
    const nest = [...(manifest.peerDependencies['@nestjs/core'] ?? '').matchAll(/\^(\d+)/g)];
    expect(manifest.types).toMatch(/\.d\.ts$/);
    expect(badges).toEqual([
      ['license', manifest.license],
      ['types', 'included'],
      ['node', manifest.engines.node.replace(/^>=(.*)\.0$/, '>= $1')],
      ['nest', nest.map(([, major]) => major).join(' | ')],
    ]);
  });

  it('gives commands that package.json has', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    for (const [, name = ''] of readme.matchAll(/npm (?:run )?(test|demo|campaign|[\w:]+)(?= |`|$)/g)) {
      if (!['install'].includes(name)) expect(Object.keys(scripts)).toContain(name);
    }
  });
});

describe('A report of the log', () => {
  it('has a heading in the troubleshooting guide', () => {
    const codes = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) => [
        ...readFileSync(join(root, 'lib', name), 'utf8').matchAll(
          /(?:\bcode: |onReport\(\s*'(?:log|warn|error)',\s*)'([a-z]+(?:-[a-z]+)*)'/g,
        ),
      ])
      .map(([, code = '']) => code);
    expect(codes).toContain('quarantine-over');
    expect(codes).toContain('lock-lost');
    const guide = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8');
    const headings = [...guide.matchAll(/^### (`.*)$/gm)].join(' ');
    expect(codes.filter((code) => !headings.includes(`\`${code}\``))).toEqual([]);
  });
});
