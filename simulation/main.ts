import { parseArgs } from 'node:util';
import { runSchedule } from './schedule.js';

/*
 * npm run simulate -- [--schedules 1000] [--from 1] [--seed 123] [--only words] [--most 3]
 *
 * Runs the real library against simulated servers, in virtual time. A seed decides a schedule, and
 * a failing schedule prints its history. `--only` keeps the faults whose names contain these words.
 * The run ends after `--most` failures.
 */

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    only: { type: 'string', default: '' },
    most: { type: 'string', default: '3' },
  },
});
// A schedule refuses hundreds of locks, and no caller reads the stack traces.
Error.stackTraceLimit = 0;
const from = Number(values.seed ?? values.from);
const schedules = values.seed === undefined ? Number(values.schedules) : 1;
const start = performance.now();
let failures = 0;
let grants = 0;

process.on('unhandledRejection', (reason) => {
  console.log('unhandled rejection', reason);
  process.exitCode = 1;
});
for (let seed = from; seed < from + schedules && failures < Number(values.most); seed++) {
  const outcome = await runSchedule(seed, values.only);
  grants += outcome.grants;
  if (outcome.violations.length > 0) {
    failures++;
    console.log(`seed ${seed}: ${outcome.violations.join('; ')}`);
  }
  if (outcome.violations.length > 0 || values.seed !== undefined) console.log(outcome.history().join('\n'));
  if ((seed - from + 1) % 1_000 === 0)
    console.log(`${seed - from + 1} schedules, ${grants} grants, ${failures} failed`);
}
const seconds = (performance.now() - start) / 1000;
console.log(
  `${schedules} schedules from seed ${from}, ${grants} grants, ${failures} failed, ${(schedules / seconds).toFixed(0)} schedules a second`,
);
process.exit(failures > 0 ? 1 : (process.exitCode ?? 0));
