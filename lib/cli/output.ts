import { once } from 'node:events';
import type { Writable } from 'node:stream';

/** The reader of the output has gone, as `head` does. */
export class OutputClosed extends Error {}

/** The output cannot be written: a disk is full, for example. */
export class OutputFailed extends Error {}

export type Colour = 'green' | 'yellow' | 'red' | 'dim';

const CODES: Record<Colour, number> = { green: 32, yellow: 33, red: 31, dim: 2 };

/** Control characters, and characters that reorder or hide the text around them. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/gu;

/**
 * The text for a terminal: nothing in it moves the cursor, changes colours or hides text. Keys and
 * owners come from Redis, where any program may have written them.
 */
export function visible(text: string): string {
  return text.replaceAll(INVISIBLE, (character) => {
    if (character === '\\') return '\\\\';
    const code = character.codePointAt(0)!;
    if (code === 10) return String.raw`\n`;
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** Where a command writes, and what must not be written. */
export class Output {
  private isClosed = false;
  private failure: OutputFailed | undefined;

  constructor(
    private readonly out: Writable,
    private readonly err: Writable,
    private readonly hasColours: boolean,
    private readonly secrets: readonly string[] = [],
  ) {
    out.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') this.isClosed = true;
      else this.failure ??= new OutputFailed(`The output cannot be written: ${error.message}.`);
    });
    // Nowhere is left to say so.
    err.on('error', () => {});
  }

  /** The same output, which also masks these texts. */
  masking(secrets: readonly string[]): Output {
    return new Output(this.out, this.err, this.hasColours, secrets);
  }

  /** Throws `OutputClosed` if the reader has gone, and `OutputFailed` if an earlier line was lost. */
  async line(text: string): Promise<void> {
    this.check();
    if (!this.out.write(`${text}\n`)) await this.drained();
  }

  /** Resolves when everything is written. Throws as `line` does. */
  async written(): Promise<void> {
    await new Promise<void>((resolve) => this.out.write('', () => resolve()));
    this.check();
  }

  json(value: unknown): Promise<void> {
    return this.line(JSON.stringify(value));
  }

  error(message: string): void {
    this.err.write(`${this.masked(visible(message).replaceAll(String.raw`\n`, '\n'))}\n`);
  }

  coloured(text: string, colour: Colour): string {
    return this.hasColours ? `\u001B[${CODES[colour]}m${text}\u001B[0m` : text;
  }

  /** The text without passwords. For every message that is not data from Redis. */
  masked(text: string): string {
    const long = this.secrets.toSorted((one, other) => other.length - one.length);
    return long
      .reduce((masked, secret) => masked.replaceAll(secret, '***'), text)
      .replaceAll(/(\b[a-z]+:\/\/[^\s:@/]*):\S*@/gi, '$1:***@');
  }

  private async drained(): Promise<void> {
    await Promise.race([once(this.out, 'drain'), once(this.out, 'close')]).catch(() => {});
    this.check();
  }

  private check(): void {
    if (this.isClosed) throw new OutputClosed();
    if (this.failure !== undefined) throw this.failure;
  }
}

/** A longer cell pushes the rest of its row aside, and not the rest of every row. */
const WIDEST = 60;

/** Rows under a head, in columns. */
export function table(rows: readonly (readonly string[])[], widths: readonly number[] = []): string[] {
  const wide = columnWidths(rows, widths);
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(wide[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

export function columnWidths(
  rows: readonly (readonly string[])[],
  least: readonly number[] = [],
): readonly number[] {
  const widths = [...least];
  for (const row of rows)
    for (const [column, cell] of row.entries())
      widths[column] = Math.max(widths[column] ?? 0, Math.min(cell.length, WIDEST));
  return widths;
}
