import { checkOptions } from '../../module/options.js';
import { connectionSettingsOf } from '../../store/redis/connection/connection-settings.js';
import { EXIT, type ExitCode } from '../exit-codes.js';
import { visible, type Colour, type Output } from '../output.js';
import type { Target } from '../target.js';
import { diagnose } from './diagnosis.js';
import { count, worstOf, type Level, type Section } from './finding.js';

const COLOURS: Record<Level, Colour> = { ok: 'green', warning: 'yellow', problem: 'red' };

/** Says whether this Redis can keep what locks promise. */
export async function doctor(
  { connection, keyPrefix }: Target,
  { json }: { readonly json: boolean },
  output: Output,
): Promise<ExitCode> {
  const { store } = checkOptions({ connection, keyPrefix });
  const { sections, isReached } = await diagnose(connectionSettingsOf(store.connection), store.keyPrefix);
  const worst = worstOf(sections);
  if (json) await output.json(withoutSecrets({ verdict: worst, sections }, output));
  else await print(sections, worst, output);
  if (!isReached) return EXIT.unavailable;
  return worst === 'ok' ? EXIT.fine : worst === 'warning' ? EXIT.warning : EXIT.no;
}

async function print(sections: readonly Section[], worst: Level, output: Output): Promise<void> {
  const shown = (text: string): string => visible(output.masked(text));
  for (const { title, findings } of sections) {
    await output.line(shown(title));
    for (const { level, check, text, advice } of findings) {
      const mark = output.coloured(level.padEnd(7), COLOURS[level]);
      await output.line(`  ${mark}  ${check.padEnd(14)}  ${shown(text)}`);
      if (advice !== undefined) await output.line(`${' '.repeat(27)}${shown(advice)}`);
    }
    await output.line('');
  }
  const all = sections.flatMap(({ findings }) => findings);
  const numberOf = (level: Level): number => all.filter((each) => each.level === level).length;
  await output.line(
    output.coloured(verdictText(worst, numberOf('problem'), numberOf('warning')), COLOURS[worst]),
  );
}

function verdictText(worst: Level, problems: number, warnings: number): string {
  const counts = `${count(problems, 'problem')}, ${count(warnings, 'warning')}.`;
  if (worst === 'ok') return 'This Redis can keep what locks promise.';
  if (worst === 'warning') return `This Redis can keep what locks promise, with reservations: ${counts}`;
  return `This Redis cannot keep what locks promise: ${counts}`;
}

/** The properties that hold free text. A password may be a word such as `ok`. */
const TEXTS = ['title', 'text', 'advice'];

function withoutSecrets<T extends object>(value: T, output: Output): T {
  return JSON.parse(
    JSON.stringify(value, (name, part: unknown) =>
      typeof part === 'string' && TEXTS.includes(name) ? output.masked(part) : part,
    ),
  ) as T;
}
