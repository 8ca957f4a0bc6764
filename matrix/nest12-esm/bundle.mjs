// Compiles the application to dist-swc as the SWC builder does. Bundles the result with the
// package, minified, to bundle/main.mjs.

import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { transformFile } from '@swc/core';
import { build } from 'esbuild';

mkdirSync('dist-swc', { recursive: true });
for (const file of readdirSync('src')) {
  const { code } = await transformFile(join('src', file), {
    jsc: {
      target: 'es2022',
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
    },
    module: { type: 'es6' },
  });
  writeFileSync(join('dist-swc', `${basename(file, '.ts')}.js`), code);
}
await build({
  entryPoints: ['dist-swc/main.js'],
  outfile: 'bundle/main.mjs',
  bundle: true,
  minify: true,
  platform: 'node',
  format: 'esm',
  external: ['@nestjs/*', '@opentelemetry/*', 'ioredis', 'reflect-metadata', 'rxjs', 'ms'],
  logLevel: 'error',
});
// The board reads the files of its page beside the module.
cpSync('node_modules/nestjs-replica-lock/dist/board/page', 'bundle/page', { recursive: true });
