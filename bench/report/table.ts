export type Cell = string | number | undefined;

/** Figures with a heading. `note` explains the columns. */
export interface Table {
  readonly title: string;
  readonly note?: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** Breaks text into lines of at most 120 characters. */
export function wrapped(text: string): string {
  return text.replaceAll(/(.{1,120})(?: |$)/g, '$1\n').trimEnd();
}

/** The table as Markdown, aligned for a terminal, too. */
export function markdownOf({ title, note, columns, rows }: Table): string {
  const texts = [columns, ...rows.map((row) => row.map(textOf))];
  const widths = columns.map((_, column) => Math.max(3, ...texts.map((row) => row[column]?.length ?? 0)));
  const isNumber = columns.map((_, column) => rows.every((row) => typeof row[column] !== 'string'));
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, i) => (isNumber[i] === true ? (cells[i] ?? '').padStart(width) : (cells[i] ?? '').padEnd(width))).join(' | ')} |`;
  const rule = widths.map((width, i) =>
    isNumber[i] === true ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  );
  return [
    `### ${title}`,
    '',
    ...(note === undefined ? [] : [wrapped(note), '']),
    line(texts[0]!),
    line(rule),
    ...texts.slice(1).map(line),
    '',
  ].join('\n');
}

/** At most three significant digits below 100: a shared machine gives no more. */
function textOf(cell: Cell): string {
  if (cell === undefined) return '';
  if (typeof cell === 'string') return cell;
  if (!Number.isFinite(cell)) return '-';
  const size = Math.abs(cell);
  if (size >= 100 || Number.isInteger(cell)) return Math.round(cell).toLocaleString('en-US');
  return cell.toFixed(size >= 10 ? 1 : 2);
}
