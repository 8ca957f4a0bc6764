import { transformFileSync } from '@swc/core';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { Reports } from '../../sample/demo/reports.js';
import { until } from '../support/eventually.js';
import { isAlive } from '../support/is-alive.js';

const PROGRAM = `
  import { Processes } from './processes.js';
  const processes = new Processes();
  const child = processes.start('sleep', ['600']);
  console.log(child.pid);
  setInterval(() => {}, 1_000);
`;

describe('The demonstration', () => {
  it('takes what it has started along when it is killed and can run no hook', async () => {
    const home = mkdtempSync(join(tmpdir(), 'demo-spec-'));
    for (const name of ['processes', 'guard']) {
      const { code } = transformFileSync(
        fileURLToPath(new URL(`../../sample/demo/${name}.ts`, import.meta.url)),
        { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
      );
      writeFileSync(join(home, `${name}.js`), code);
    }
    writeFileSync(join(home, 'package.json'), '{ "type": "module" }');
    writeFileSync(join(home, 'program.js'), PROGRAM);
    const demo = spawn(process.execPath, [join(home, 'program.js')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(demo.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    try {
      expect(isAlive(pid)).toBe(true);
      demo.kill('SIGKILL');
      await until(() => !isAlive(pid), { what: 'the guard has ended the child' });
    } finally {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      rmSync(home, { recursive: true, force: true });
    }
  });

  it('notices a tick whose report was written twice', () => {
    const reports = new Reports();
    const write = (copy: number, second: number): void =>
      reports.onLine(copy, `[Reports] the report of 2026-01-01T00:00:0${second}.000Z was written`);
    reports.onLine(0, 'something else');
    write(0, 1);
    write(1, 2);
    write(0, 4);
    expect(reports).toMatchObject({ by: [2, 1], written: 3, ticks: 4, twice: 0 });
    write(1, 4);
    expect(reports).toMatchObject({ by: [2, 2], written: 4, ticks: 4, twice: 1 });
  });
});
