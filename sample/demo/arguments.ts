import { parseArgs } from 'node:util';
import { messageOf } from './terminal.js';

/** What was asked for on the command line. */
export interface Arguments {
  /** Whether the rounds run. Otherwise there is only the page. */
  readonly rounds: boolean;
  /** Whether everything stays after the rounds. */
  readonly keep: boolean;
  /** The file for the picture of the run. */
  readonly record: string | undefined;
}

export const USAGE = 'Usage: npm run demo [-- [--keep] [--page] [--record picture.svg]]';

/** `--page`: no rounds, and everything stays. Throws an error that says how it is used. */
export function parseArguments(args: readonly string[]): Arguments {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { keep: { type: 'boolean' }, page: { type: 'boolean' }, record: { type: 'string' } },
    });
    const { keep = false, page = false, record } = values;
    return { rounds: !page, keep: keep || page, record };
  } catch (error) {
    throw new Error(`${messageOf(error)}\n${USAGE}`, { cause: error });
  }
}
