import { transformFileSync } from '@swc/core';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './eventually.js';
import { isAlive } from './is-alive.js';

/** Starts a process that only the guard will end, and one that has ended long ago. */
const PROGRAM = `
  import { spawn } from 'node:child_process';
  import { guardedFolder, guardProcess, unguardProcess } from './guard.mjs';
  const [left, gone] = [1, 2].map(() => spawn('sleep', ['600'], { stdio: 'ignore', detached: true }).pid);
  guardProcess(gone);
  guardProcess(left);
  unguardProcess(gone);
  process.kill(left, 'SIGSTOP');
  console.log(JSON.stringify({ left, gone, folder: guardedFolder('test') }));
  setInterval(() => {}, 1_000);
`;

describe('a process that is killed and can run no hook', () => {
  it('ends its guarded processes, even stopped ones, removes its folder, and spares processes that it released', async () => {
    const home = mkdtempSync(join(tmpdir(), 'guard-spec-'));
    const { code } = transformFileSync(fileURLToPath(new URL('guard.ts', import.meta.url)), {
      jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
      module: { type: 'es6' },
    });
    writeFileSync(join(home, 'guard.mjs'), code);
    writeFileSync(join(home, 'program.mjs'), PROGRAM);
    const parent = spawn(process.execPath, [join(home, 'program.mjs')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const { left, gone, folder } = JSON.parse(line.toString()) as {
      left: number;
      gone: number;
      folder: string;
    };
    try {
      expect(existsSync(folder)).toBe(true);
      parent.kill('SIGKILL');
      await until(() => !isAlive(left) && !existsSync(folder), { what: 'the guard has cleaned up' });
      expect(isAlive(gone)).toBe(true);
    } finally {
      process.kill(gone, 'SIGKILL');
      rmSync(home, { recursive: true, force: true });
    }
  });
});
