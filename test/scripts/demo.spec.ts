import { transformFileSync } from '@swc/core';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { until } from '../support/eventually.js';
import { isAlive } from '../support/is-alive.js';

interface Program extends Disposable {
  readonly demo: ChildProcessByStdio<null, Readable, null>;
}

const HEAD = `
  import { Processes } from './processes.js';
  const processes = new Processes();
`;

const PROGRAM = `
  const child = processes.start('sleep', ['600']);
  console.log(child.pid);
  setInterval(() => {}, 1_000);
`;

const MISSING = `
  await new Promise((resolve) => processes.start('/nowhere/redis-server', [], {}, resolve));
  await processes.exit(7);
`;

/** Starts a program that has the demonstration's processes. */
function startProgram(text: string): Program {
  const home = mkdtempSync(join(tmpdir(), 'demo-spec-'));
  for (const name of ['processes', 'guard']) {
    const { code } = transformFileSync(
      fileURLToPath(new URL(`../../sample/demo/${name}.ts`, import.meta.url)),
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
    );
    writeFileSync(join(home, `${name}.js`), code);
  }
  writeFileSync(join(home, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(home, 'program.js'), HEAD + text);
  const demo = spawn(process.execPath, [join(home, 'program.js')], { stdio: ['ignore', 'pipe', 'inherit'] });
  return {
    demo,
    [Symbol.dispose]: () => {
      demo.kill('SIGKILL');
      rmSync(home, { recursive: true, force: true });
    },
  };
}

describe('The demonstration', () => {
  it('ends if a program could not be started', async () => {
    using program = startProgram(MISSING);
    const [code] = (await once(program.demo, 'exit')) as [number];
    expect(code).toBe(7);
  });

  it('takes what it has started along when it is killed and can run no hook', async () => {
    using program = startProgram(PROGRAM);
    const { demo } = program;
    const [line] = (await once(demo.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    try {
      expect(isAlive(pid)).toBe(true);
      demo.kill('SIGKILL');
      await until(() => !isAlive(pid), { what: 'the guard has ended the child' });
    } finally {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    }
  });
});
