import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { MUTANTS } from './mutations/index.js';
import type { Mutant } from './mutations/mutant.js';

/*
 * npm run mutants -- [--schedules 3000] [--only words]
 *
 * Breaks one rule of the protocol after the other in a copy of the code, and runs the simulation
 * against the copy until a schedule fails. If no test notices a broken rule, the next change may
 * break the rule unnoticed.
 */

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '3000' },
    from: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
  },
});
const run = promisify(execFile);
/** The folder of the compiled code, and the repository that the code was compiled from. */
const compiled = dirname(dirname(fileURLToPath(import.meta.url)));
const root = join(compiled, '..', '..');

/** Makes a copy of the compiled code with the mutant's files. */
function grow(mutant: Mutant, folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const part of ['lib', 'simulation'])
    cpSync(join(compiled, part), join(folder, part), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const [file, changes] of Object.entries(mutant.changes)) {
    let source = readFileSync(join(root, file), 'utf8');
    for (const [sound, broken] of changes) {
      if (source.split(sound).length !== 2)
        throw new Error(
          `Mutant '${mutant.name}': ${file} has '${sound}' ${source.split(sound).length - 1} times, not once`,
        );
      source = source.replace(sound, () => broken);
    }
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
    });
    writeFileSync(join(folder, file.replace(/\.ts$/, '.js')), outputText);
  }
}

/** The first schedule that fails, and why. */
async function firstCaught(
  folder: string,
  { faults = '' }: Mutant,
): Promise<{ seed: number; why: string } | undefined> {
  const main = join(folder, 'simulation', 'main.js');
  const args = [
    main,
    '--schedules',
    values.schedules,
    '--from',
    values.from,
    '--most',
    '1',
    '--only',
    faults,
  ];
  const output = await run(process.execPath, args, { maxBuffer: 1 << 28 }).then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  );
  const found = /^seed (\d+): (.*)$/m.exec(output);
  if (found !== null) return { seed: Number(found[1]), why: found[2]! };
  const trouble = /^unhandled rejection.*$/m.exec(output);
  return trouble === null ? undefined : { seed: 0, why: trouble[0] };
}

let survivors = 0;
for (const mutant of MUTANTS.filter(({ name }) => name.includes(values.only))) {
  const folder = join(compiled, '..', 'mutant');
  grow(mutant, folder);
  const caught = await firstCaught(folder, mutant);
  if (caught !== undefined)
    console.log(
      `caught    ${mutant.name.padEnd(62)} after ${String(caught.seed - Number(values.from) + 1).padStart(5)} schedules: ${caught.why.slice(0, 150)}`,
    );
  else if (mutant.caughtBy !== undefined)
    console.log(`unseen    ${mutant.name.padEnd(62)} here; caught by ${mutant.caughtBy}`);
  else {
    survivors++;
    console.log(`SURVIVED  ${mutant.name}`);
  }
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = survivors > 0 ? 1 : 0;
