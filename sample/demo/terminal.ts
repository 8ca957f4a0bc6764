import type { DemoEvent } from './model.js';
import { seconds } from './time-line.js';

const RESET = '\x1b[0m';
const BOLD = '\x1b[1m';
const COLORS: Readonly<Record<DemoEvent['tone'], string>> = { plain: '', good: '\x1b[32m', bad: '\x1b[31m' };

/** The message of a thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Prints the time line, and on a terminal a last line that says what the demonstration waits for. */
export class Terminal {
  private readonly isTerminal = process.stdout.isTTY;
  private readonly hasColors = this.isTerminal && process.env['NO_COLOR'] === undefined;

  line(text = ''): void {
    process.stdout.write(`${this.isTerminal ? '\r\x1b[K' : ''}${text}\n`);
  }

  event({ at, kind, tone, text }: DemoEvent): void {
    if (kind === 'round') this.line(`\n${this.colored(BOLD, text)}`);
    else this.line(`${seconds(at).padStart(6)} s  ${this.colored(COLORS[tone], text)}`);
  }

  /** Replaced by the next line. Without a terminal nothing is printed. */
  progress(text: string): void {
    if (this.isTerminal)
      process.stdout.write(`\r\x1b[K          ${text.slice(0, (process.stdout.columns || 80) - 11)}`);
  }

  private colored(color: string, text: string): string {
    return this.hasColors && color !== '' ? `${color}${text}${RESET}` : text;
  }
}
