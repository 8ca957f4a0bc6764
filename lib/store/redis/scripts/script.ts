import { createHash } from 'node:crypto';
import type { Command } from '../resp.js';

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
  /** Properties that differ from call to call, as the owner does. The Lua code knows them by the same names. */
  readonly own?: readonly (keyof C & string)[];
  /** Lua code that runs once. */
  readonly before?: string;
  /** Lua code that runs for each call. It finds `owner`, `count` keys behind `KEYS[first]`, and the properties as strings; it adds one to `replies`. */
  readonly each: string;
  /** Lua code that runs once, after all calls. */
  readonly after?: string;
}

/**
 * A Lua script that serves many calls at once: fewer commands, one run of the interpreter.
 *
 * KEYS  the keys of the first call, then those of the second, ...
 * ARGV  for each run of calls that are like each other: their number, the number of keys of each, what they have in common, and for each
 *       call its owner and what is its own
 */
export class GroupScript<C extends ScriptCall> extends Script {
  private readonly common: readonly (keyof C & string)[];
  private readonly own: readonly (keyof C & string)[];

  constructor({ common, own = [], before = '', each, after = '' }: GroupScriptParts<C>) {
    const head = 2 + common.length;
    const width = 1 + own.length;
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
  local last = at + ${head - 1} + calls * ${width}
  for place = at + ${head}, last, ${width} do
    local ${['owner', ...own].join(', ')} = ${Array.from({ length: width }, (_, i) => `ARGV[place + ${i}]`).join(', ')}
    ${each.trim()}
    first = first + count
  end
  at = last + 1
end
${after.trim()}
return replies
`);
    this.common = common;
    this.own = own;
  }

  keysOf(calls: readonly C[]): string[] {
    const keys: string[] = [];
    for (const call of calls) for (const key of call.keys) keys.push(key);
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
      for (; from < to; from++) {
        const call = calls[from]!;
        args.push(call.owner);
        for (const name of this.own) args.push(call[name] as Argument);
      }
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

/**
 * Reads the keys in the table `keys` and does `use` with the `value` of key `i`: a string, false, or the error of reading it (a table). One MGET if the
 * user may, because Redis 7.0 has client tracking remember all keys of the script at each read in it. MGET takes a value that is no string for none.
 */
export function reading(keys: string, use = ''): string {
  return `
local many = #${keys} > 1 and redis.pcall('MGET', unpack(${keys}))
if many and many.err then many = nil end
for i = 1, #${keys} do
  local value
  if many then value = many[i] else value = redis.pcall('GET', ${keys}[i]) end
  ${use.trim()}
end
`;
}

/** `found[key]`: what each key of the script holds. Two calls may have the same key, so each write is noted there, too. */
export const READ_ALL = `
local found = {}
${reading('KEYS', 'found[KEYS[i]] = value').trim()}
`;

/**
 * `write(key, value, px)` of a key that is there, also where the server's memory is full: Redis refuses a SET as a script's first write then, but
 * neither PEXPIRE nor what follows it. The value is no longer than the one before by more than a character.
 */
export const WRITE = `
local function write(key, value, px)
  if redis.pcall('SET', key, value, 'PX', px).err then
    redis.call('PEXPIRE', key, px)
    redis.call('SET', key, value, 'PX', px)
  end
end
`;

/**
 * Client tracking remembers a key that was read while it was missing until it is written, which may be never. So each key in `absent`, if there is
 * such a table, is written unless it is there meanwhile, and given an expiry of 1970 before the script ends: no reader ever sees it. (Valkey ignores a first write with such an
 * expiry, and DEL is a right that users do not have.) Stands at the end: on Redis 7.0 any later read would have all keys remembered again.
 */
export const FORGET = `
if absent then
  for i = 1, #absent do
    if redis.pcall('SET', absent[i], '', 'PX', 1, 'NX') then
      redis.pcall('SET', absent[i], '', 'PXAT', 1)
    end
  end
end
`;
