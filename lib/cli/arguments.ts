import { parseArgs } from 'node:util';
import { UsageError } from './usage.js';

/** The options of every command, as texts. */
export interface GivenOptions {
  readonly url?: string | undefined;
  readonly sentinel?: string | undefined;
  readonly master?: string | undefined;
  readonly nodes?: string | undefined;
  readonly 'key-prefix'?: string | undefined;
}

export type Invocation =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | ({ readonly options: GivenOptions; readonly json: boolean } & CommandArguments);

type CommandArguments =
  | { readonly kind: 'ls'; readonly match: string | undefined }
  | { readonly kind: 'inspect'; readonly key: string }
  | { readonly kind: 'release'; readonly key: string; readonly owner: string | undefined }
  | { readonly kind: 'doctor' };

/** How many arguments a command takes: from, to. */
const ARGUMENTS: Record<CommandArguments['kind'], readonly [least: number, most: number, what: string]> = {
  ls: [0, 0, 'no argument'],
  inspect: [1, 1, 'one key'],
  release: [1, 2, 'a key, and possibly an owner'],
  doctor: [0, 0, 'no argument'],
};

/** Reads the command line. Throws `UsageError`. */
export function readArguments(args: readonly string[]): Invocation {
  const { values, positionals } = parsed(args);
  const { help, version, json = false, match, ...options } = values;
  if (help === true) return { kind: 'help' };
  if (version === true) return { kind: 'version' };
  const [command, ...rest] = positionals;
  if (command === undefined) throw new UsageError('Name a command: ls, inspect, release or doctor.');
  const counts = Object.hasOwn(ARGUMENTS, command) ? ARGUMENTS[command as 'ls'] : undefined;
  if (counts === undefined)
    throw new UsageError(`There is no command '${command}': use ls, inspect, release or doctor.`);
  const [least, most, what] = counts;
  if (rest.length < least || rest.length > most)
    throw new UsageError(`The command ${command} takes ${what}, and ${rest.length} were given.`);
  if (match !== undefined && command !== 'ls') throw new UsageError('Only ls takes --match.');
  const common = { options, json };
  const [key = '', owner] = rest;
  if (command === 'ls') return { ...common, kind: 'ls', match };
  if (command === 'doctor') return { ...common, kind: 'doctor' };
  return command === 'inspect'
    ? { ...common, kind: 'inspect', key }
    : { ...common, kind: 'release', key, owner };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        url: { type: 'string' },
        sentinel: { type: 'string' },
        master: { type: 'string' },
        nodes: { type: 'string' },
        'key-prefix': { type: 'string' },
        match: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    });
  } catch (error) {
    // The message names the option, and not its value.
    const { message, code } = error as Error & { code?: string };
    if (code?.startsWith('ERR_PARSE_ARGS_') !== true) throw error;
    throw new UsageError(message.split(/[.\n]/)[0]! + '.');
  }
}
