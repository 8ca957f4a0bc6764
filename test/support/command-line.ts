import { transformFileSync } from '@swc/core';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { Output } from '../../lib/cli/output.js';
import { run } from '../../lib/cli/run.js';
import type { Environment } from '../../lib/cli/target.js';
import { guardedFolder } from './guard.js';

/** What a run of the command line printed, and its exit code. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line in this process. */
export async function commandLine(args: readonly string[], env: Environment = {}): Promise<Ran> {
  const texts = { out: '', err: '' };
  const into = (name: 'out' | 'err'): Writable =>
    new Writable({
      write(chunk, _encoding, done) {
        texts[name] += String(chunk);
        done();
      },
    });
  const code = await run(args, env, new Output(into('out'), into('err'), false));
  return { code, ...texts };
}

/** Compiles the library. Answers the path of the command, which node can run. */
export function compiledCommand(): string {
  const home = guardedFolder('command');
  for (const path of readdirSync('lib', { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts')) continue;
    const { code } = transformFileSync(join('lib', path), {
      jsc: {
        target: 'es2022',
        parser: { syntax: 'typescript', decorators: true },
        transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
      },
      module: { type: 'es6' },
    });
    const target = join(home, 'dist', path.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, code);
  }
  writeFileSync(join(home, 'package.json'), '{ "type": "module", "version": "7.8.9" }');
  symlinkSync(join(process.cwd(), 'node_modules'), join(home, 'node_modules'));
  return join(home, 'dist/cli/bin.js');
}

export function removeCommand(path: string): void {
  rmSync(join(dirname(path), '../..'), { recursive: true, force: true });
}

/** Starts the compiled command as a process of its own, without the environment of this process. */
export function startCommand(
  path: string,
  args: readonly string[],
  env: Environment = {},
  out: 'pipe' | number = 'pipe',
): ChildProcess {
  return spawn(process.execPath, [path, ...args], { env, stdio: ['ignore', out, 'pipe'] });
}

/** Waits for the end of a command. */
export async function endOf(command: ChildProcess): Promise<Ran> {
  let [out, err] = ['', ''];
  command.stdout?.on('data', (data) => (out += String(data)));
  command.stderr?.on('data', (data) => (err += String(data)));
  const code = await new Promise<number>((resolve) => command.once('close', (exit) => resolve(exit ?? -1)));
  return { code, out, err };
}
