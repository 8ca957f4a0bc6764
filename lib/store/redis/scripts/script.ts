import { createHash } from 'node:crypto';
import type { Command } from '../connection.js';

export type Argument = string | number;

export class Script {
  readonly sha: string;

  constructor(readonly lua: string) {
    this.sha = createHash('sha1').update(lua).digest('hex');
  }

  /** `cached`: the server has run it before, so its hash is enough. */
  command(keys: readonly string[], args: readonly Argument[], cached: boolean): Command {
    return cached
      ? ['evalsha', this.sha, keys.length, ...keys, ...args]
      : ['eval', this.lua, keys.length, ...keys, ...args];
  }
}

/** What a script does for one of many. */
export interface ScriptCall {
  readonly keys: readonly string[];
  readonly owner: string;
}

interface GroupScriptParts<C extends ScriptCall> {
  /** Properties of a call that the Lua code needs, too, and knows by the same names. Calls that have them in common travel as one run. */
  readonly common: readonly (keyof C & string)[];
  /** Lua code that runs once. */
  readonly before?: string;
  /** Lua code that runs for each call. It finds `owner`, `count` keys behind `KEYS[first]`, and the common properties as strings; it adds one to `replies`. */
  readonly each: string;
}

/**
 * A Lua script that serves many calls at once: fewer commands, one run of the interpreter.
 *
 * KEYS  the keys of the first call, then those of the second, ...
 * ARGV  for each run of calls that are like each other: their number, the number of keys of each, what they have in common, their owners
 */
export class GroupScript<C extends ScriptCall> extends Script {
  private readonly common: readonly (keyof C & string)[];

  constructor({ common, before = '', each }: GroupScriptParts<C>) {
    const head = 2 + common.length;
    const values = [
      'tonumber(ARGV[at])',
      'tonumber(ARGV[at + 1])',
      ...common.map((_, i) => `ARGV[at + ${i + 2}]`),
    ];
    super(`
local call, sub, replies, first, at = redis.call, string.sub, {}, 0, 1
${before.trim()}
while at <= #ARGV do
  local calls, ${['count', ...common].join(', ')} = ${values.join(', ')}
  for place = at + ${head}, at + ${head - 1} + calls do
    local owner = ARGV[place]
    ${each.trim()}
    first = first + count
  end
  at = at + ${head} + calls
end
return replies
`);
    this.common = common;
  }

  keysOf(calls: readonly C[]): string[] {
    const keys: string[] = [];
    for (const call of calls) keys.push(...call.keys);
    return keys;
  }

  argsOf(calls: readonly C[]): Argument[] {
    const args: Argument[] = [];
    for (let from = 0; from < calls.length;) {
      const run = calls[from]!;
      let to = from + 1;
      while (to < calls.length && this.areLike(run, calls[to]!)) to++;
      args.push(to - from, run.keys.length);
      for (const name of this.common) args.push(run[name] as Argument);
      for (; from < to; from++) args.push(calls[from]!.owner);
    }
    return args;
  }

  private areLike(one: C, other: C): boolean {
    if (one.keys.length !== other.keys.length) return false;
    for (const name of this.common) if (one[name] !== other[name]) return false;
    return true;
  }
}

/** What a released key holds is kept this long, so that the next token is greater even where a clock steps back. */
export const TOMBSTONE_TIME = 10_000;
