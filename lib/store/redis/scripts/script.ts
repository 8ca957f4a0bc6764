import { createHash } from 'node:crypto';
import type { Command, Reply } from '../resp.js';

export type Argument = string | number;

export class Script {
  readonly sha: string;

  constructor(readonly lua: string) {
    this.sha = createHash('sha1').update(lua).digest('hex');
  }

  /** `cached`: the server has run the script before, so its hash is enough. */
  command(keys: readonly string[], args: readonly Argument[], cached: boolean): Command {
    return cached
      ? ['evalsha', this.sha, keys.length, ...keys, ...args]
      : ['eval', this.lua, keys.length, ...keys, ...args];
  }
}

/** What one request passes to a script. One run of the script serves many calls. */
export interface ScriptCall {
  readonly keys: readonly string[];
  readonly owner: string;
}

interface GroupScriptParts<C extends ScriptCall, A> {
  /**
   * Properties that the Lua code knows by the same names. Consecutive calls with equal values form
   * a series, which carries the values once.
   */
  readonly common: readonly (keyof C & string)[];
  /** Properties that each call carries, as the owner. The Lua code knows them by the same names. */
  readonly own?: readonly (keyof C & string)[];
  /** Lua code that runs once, before all calls. */
  readonly before?: string;
  /**
   * Lua code that runs for each call. The keys of the call are the `count` keys behind
   * `KEYS[first]`; `owner` and the properties are strings. The code appends one reply to `replies`.
   */
  readonly each: string;
  /** Lua code that runs once, after all calls. */
  readonly after?: string;
  /** Decodes the reply to one call. */
  readonly decode: (reply: Reply | undefined) => A;
}

/**
 * A Lua script that serves many calls at once: fewer commands, and one run of the interpreter.
 *
 * KEYS    the keys of the first call, then the keys of the second call, and so on
 * ARGV    for each series of like calls: their number, the number of keys of each, and the `common`
 *         properties; then for each call its owner and its `own` properties
 * Reply   for each call, in the same order, what `each` appends to `replies`
 */
export class GroupScript<C extends ScriptCall, A> extends Script {
  readonly decode: (reply: Reply | undefined) => A;
  private readonly common: readonly (keyof C & string)[];
  private readonly own: readonly (keyof C & string)[];

  constructor({ common, own = [], before = '', each, after = '', decode }: GroupScriptParts<C, A>) {
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
    this.decode = decode;
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
      const first = calls[from]!;
      let to = from + 1;
      while (to < calls.length && this.areLike(first, calls[to]!)) to++;
      args.push(to - from, first.keys.length);
      for (const name of this.common) args.push(first[name] as Argument);
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

/**
 * Lua code that reads the keys in the table `keys`, and runs `use` for each. `use` finds the index
 * `i` and the `value` of the key: a string, false, or the error of reading the key (a table).
 *
 * Uses a single MGET if the user may call MGET: with client tracking, Redis 7.0 remembers all keys
 * of the script at each read in it. MGET reads a key that holds no string as a missing key.
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

/**
 * Lua code that fills `found[key]` with the value of each key of the script. Two calls may have the
 * same key, so a script also stores there what it writes.
 */
export const READ_ALL = `
local found = {}
${reading('KEYS', 'found[KEYS[i]] = value').trim()}
`;

/**
 * The Lua function `write(key, value, px)` for a key that exists. The function works even if the
 * server's memory is full. Redis then refuses a SET as the first write of a script, but neither
 * PEXPIRE nor the writes behind it. The new value is at most one character longer than the old one.
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
 * Lua: `noteAbsent(key)` adds a key to the table `absent`, for FORGET. The scripts of a mutex write
 * this out, because most runs of a mutex would pay for a function that they do not call.
 */
export const ABSENT = `
local absent
local function noteAbsent(key)
  absent = absent or {}
  absent[#absent + 1] = key
end
`;

/**
 * Lua code that has client tracking forget the keys in the table `absent`, if a script made one.
 * Tracking remembers a missing key that was read until the key is written, which may be never.
 *
 * So each of these keys that is still missing is written, and given an expiry of 1970 before the
 * script ends: no reader ever sees the key. Valkey ignores a first write with an expiry in the
 * past, and the right to use DEL is not required. FORGET stands at the end of a script: on Redis
 * 7.0 a later read would have tracking remember all keys again.
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
