import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startReplication } from '../test/support/replication.js';
import { describeMachine, machineText } from './report/machine.js';
import { svgOf } from './report/plot.js';
import { markdownOf, wrapped } from './report/table.js';
import { subjects } from './subjects/index.js';
import { OURS, THROUGH_DECORATOR } from './subjects/replica-lock.js';
import { workloads } from './workloads/index.js';
import type { Report, Workload } from './workloads/workload.js';

const USAGE = `npm run bench -- [--workloads a,b] [--subjects words,words] [--rounds 3] [--smoke] [--out folder]

  workloads  ${workloads.map(({ name }) => name).join(', ')}
  subjects   subjects whose name contains one of the words: ${subjects.map(({ name }) => `'${name}'`).join(', ')}
  smoke      seconds instead of minutes: shows that everything runs, the figures mean nothing
  out        the folder for <workload>.md, <workload>.json and the plots`;

const { values } = parseArgs({
  options: {
    workloads: { type: 'string' },
    subjects: { type: 'string' },
    rounds: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit();
}
const smoke = values.smoke;
const SMOKE_NOTE = 'A smoke run: it shows that everything runs. Its figures mean nothing.';
const rounds = Number(values.rounds ?? (smoke ? 1 : 3));
const chosen = choose(workloads, values.workloads, (name, word) => name === word);
const measured = choose(subjects, values.subjects, (name, word) => name.includes(word));

function choose<T extends { name: string }>(
  all: readonly T[],
  words: string | undefined,
  fits: (name: string, word: string) => boolean,
): readonly T[] {
  const wanted = words?.split(',');
  const found = all.filter(({ name }) => wanted?.some((word) => fits(name, word)) ?? true);
  if (found.length > 0) return found;
  throw new Error(`No workload or subject matches '${words}'.\n\n${USAGE}`);
}

/** Waiters take several processes each, so a smoke run has only this library and one that polls. */
const waiting = measured.filter(
  ({ waits, name }) =>
    waits && name !== THROUGH_DECORATOR && (!smoke || name === OURS || name === 'redis-semaphore'),
);

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ item }) => item);
}

async function run(workload: Workload): Promise<Report> {
  console.log(`--- ${workload.name}`);
  await using servers = await startReplication({ replicas: 2 });
  return await workload.run({
    servers,
    server: { host: '127.0.0.1', port: servers.master.port },
    subjects: measured,
    waiting,
    rounds,
    smoke,
    shuffled,
    log: (line) => console.log(line),
  });
}

if (smoke) console.log(SMOKE_NOTE);
for (const workload of chosen) {
  const machine = describeMachine();
  const report = await run(workload);
  const tables = report.tables.map(markdownOf);
  for (const table of tables) console.log(`\n${table}`);
  if (values.out === undefined) continue;
  mkdirSync(values.out, { recursive: true });
  const write = (ending: string, text: string): void =>
    writeFileSync(join(values.out!, `${workload.name}.${ending}`), text);
  const plots = (report.plots ?? []).map(({ name, title }) => `![${title}](${name}.svg)\n`);
  const intro = wrapped(`Written by \`npm run bench\`. ${machineText(machine)}`);
  const head = `# ${workload.name}\n\n${smoke ? `**${SMOKE_NOTE}**\n\n` : ''}${intro}\n`;
  write('md', [head, ...plots, ...tables].join('\n'));
  write('json', `${JSON.stringify({ machine, rounds, smoke, tables: report.tables }, undefined, 1)}\n`);
  for (const plot of report.plots ?? []) {
    const title = smoke ? `${plot.title} (${SMOKE_NOTE})` : plot.title;
    writeFileSync(join(values.out, `${plot.name}.svg`), svgOf({ ...plot, title }));
  }
}
if (smoke) console.log(SMOKE_NOTE);
process.exit();
