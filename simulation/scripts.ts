import { acquireScript } from '../lib/store/redis/scripts/acquire.js';
import { FORCE_RELEASE } from '../lib/store/redis/scripts/force-release.js';
import { checkOwnerScript } from '../lib/store/redis/scripts/check-owner.js';
import { dropScript } from '../lib/store/redis/scripts/drop.js';
import { keepScript } from '../lib/store/redis/scripts/keep.js';
import { releaseScript } from '../lib/store/redis/scripts/release.js';
import { renewScript } from '../lib/store/redis/scripts/renew.js';
import { COOLDOWN_MARK, KEPT_MARK } from '../lib/store/redis/scripts/value.js';
import type { Command, Reply } from '../lib/store/redis/resp.js';

/** What a script may do to a server's data. */
export interface Data {
  get(key: string): string | null;
  pttl(key: string): number;
  /** Throws `OutOfMemory` if memory is full and the script has written nothing before. */
  set(key: string, value: string, px: number): void;
  /** Like `set` with NX: false if the key exists. The key is not read. */
  setNew(key: string, value: string, px: number): boolean;
  pexpire(key: string, px: number): void;
  del(key: string): void;
  /** µs since 1970 by the server's clock. */
  now(): number;
}

/** The server refuses a write that needs memory, which ends the script. */
export class OutOfMemory extends Error {}

export type SimScript = (data: Data, keys: readonly string[], args: readonly string[]) => Reply;

interface SimCall {
  readonly keys: readonly string[];
  readonly owner: string;
  readonly common: readonly string[];
  /** Arguments that differ from call to call, except the owner. */
  readonly rest: readonly string[];
}

/** Splits the arguments into calls: see `GroupScript`. */
function* callsOf(
  keys: readonly string[],
  args: readonly string[],
  commonCount: number,
  restCount = 0,
): Generator<SimCall> {
  let first = 0;
  for (let at = 0; at < args.length;) {
    const [calls, count] = [Number(args[at]), Number(args[at + 1])];
    const owners = at + 2 + commonCount;
    const common = args.slice(at + 2, owners);
    const width = 1 + restCount;
    at = owners + calls * width;
    for (let place = owners; place < at; place += width) {
      const [owner = '', ...rest] = args.slice(place, place + width);
      yield { keys: keys.slice(first, first + count), owner, common, rest };
      first += count;
    }
  }
}

/** A write that a full memory does not stop. */
function write(data: Data, key: string, value: string, px: number): void {
  try {
    data.set(key, value, px);
  } catch (error) {
    if (!(error instanceof OutOfMemory)) throw error;
    data.pexpire(key, px);
    data.set(key, value, px);
  }
}

/** Makes client tracking forget keys that were read while they were missing. */
function forget(data: Data, keys: readonly string[]): void {
  for (const key of keys) {
    try {
      data.setNew(key, '', 0);
    } catch (error) {
      if (!(error instanceof OutOfMemory)) throw error;
    }
  }
}

/*
 * The Lua scripts in TypeScript. A differential test compares each script with the twin here:
 * test/simulation/scripts.spec.ts.
 */

const acquire: SimScript = (data, keys, args) => {
  const absent: string[] = [];
  const replies = [...callsOf(keys, args, 3)].map(({ keys: own, owner, common: [ttl, floor] }) => {
    let token = Number(floor);
    const clock = data.now();
    // A single key is first taken as a free key.
    if (own.length === 1 && token <= clock && data.setNew(own[0]!, `${owner} ${clock}`, Number(ttl)))
      return String(clock);
    const values = own.map((key) => data.get(key));
    for (const [i, value] of values.entries()) {
      if (value?.startsWith(`${owner} `)) token = Math.max(token, Number(value.slice(owner.length + 1)));
      else if (value === null) token = Math.max(token, data.now());
      else if (/^\d{16}$/.test(value)) token = Math.max(token, data.now(), Number(value) + 1);
      else {
        absent.push(...own.filter((_, place) => values[place] === null));
        return [i, value.slice(0, 512), data.pttl(own[i]!)];
      }
    }
    for (const key of own) data.set(key, `${owner} ${token}`, Number(ttl));
    return String(token);
  });
  forget(data, absent);
  return replies;
};

/**
 * The token, if the value is the owner's, with or without the mark. Undefined if the value is not
 * the owner's.
 */
function tokenOf(value: string | null, owner: string, mark: string): string | undefined {
  return [`${owner} `, `${owner}${mark} `]
    .filter((own) => value?.startsWith(own) === true)
    .map((own) => value!.slice(own.length))[0];
}

const renew: SimScript = (data, keys, args) => {
  const written: string[] = [];
  const absent: string[] = [];
  const replies = [...callsOf(keys, args, 2)].map(({ keys: own, owner, common: [ttl, purpose] }) => {
    const mark = purpose === 'cooldown' ? COOLDOWN_MARK : '';
    const tokens = own.map((key) => tokenOf(data.get(key), owner, mark));
    const gone = tokens.findIndex((token) => token === undefined);
    for (const [i, key] of own.entries()) {
      if (gone >= 0) {
        if (data.get(key) === null) absent.push(key);
        continue;
      }
      const inCooldown = mark !== '' && data.get(key)!.startsWith(`${owner}${mark} `);
      write(data, key, `${owner}${mark} ${tokens[i]}`, inCooldown ? data.pttl(key) : Number(ttl));
      written.push(key);
    }
    return gone + 1;
  });
  for (const key of written) data.get(key);
  forget(data, absent);
  return replies;
};

const release: SimScript = (data, keys, args) =>
  [...callsOf(keys, args, 2, 1)].map(
    ({ keys: own, owner, common: [cooldown, tombstone], rest: [lockToken] }) => {
      let ours = 1;
      for (const key of own) {
        const value = data.get(key);
        const inCooldown = value?.startsWith(`${owner}${COOLDOWN_MARK} `) === true;
        const token = tokenOf(value, owner, COOLDOWN_MARK);
        if (token === undefined) {
          if (value !== lockToken) ours = 0;
        } else if (cooldown === '0') write(data, key, token, Number(tombstone));
        else if (!inCooldown) write(data, key, `${owner}${COOLDOWN_MARK} ${token}`, Number(cooldown));
      }
      return ours;
    },
  );

/** The token, if the owner holds the key or left its result there. */
function keptTokenOf(value: string | null, owner: string): string | undefined {
  const [own, kept] = [`${owner} `, `${owner}${KEPT_MARK} `];
  if (value?.startsWith(own) === true) return value.slice(own.length);
  if (value?.startsWith(kept) === true) return value.slice(kept.length, kept.length + 16);
  return undefined;
}

const keep: SimScript = (data, keys, args) => {
  const absent: string[] = [];
  const replies = [...callsOf(keys, args, 1, 1)].map(
    ({ keys: own, owner, common: [ttl], rest: [result] }) => {
      const tokens = own.map((key) => keptTokenOf(data.get(key), owner));
      const gone = tokens.indexOf(undefined);
      for (const [i, key] of own.entries()) {
        if (gone < 0) data.set(key, `${owner}${KEPT_MARK} ${tokens[i]} ${result}`, Number(ttl));
        else if (data.get(key) === null) absent.push(key);
      }
      return gone + 1;
    },
  );
  forget(data, absent);
  return replies;
};

const drop: SimScript = (data, keys, args) =>
  [...callsOf(keys, args, 1, 1)].map(({ keys: own, owner, common: [tombstone], rest: [lockToken] }) => {
    let ours = 1;
    for (const key of own) {
      const token = keptTokenOf(data.get(key), owner);
      if (token !== undefined) write(data, key, token, Number(tombstone));
      else if (data.get(key) !== lockToken) ours = 0;
    }
    return ours;
  });

const checkOwner: SimScript = (data, keys, args) => {
  const calls = [...callsOf(keys, args, 0)];
  const replies = calls.map(
    ({ keys: own, owner }) =>
      own.map((key) => data.get(key)?.startsWith(`${owner} `) === true).indexOf(false) + 1,
  );
  forget(
    data,
    keys.filter((key) => data.get(key) === null),
  );
  return replies;
};

const forceRelease: SimScript = (data, [key = ''], [tombstone]) => {
  const value = data.get(key);
  if (value === null || /^\d{16}$/.test(value)) return 0;
  const token = (/^rl:[^ ]+ (\d+)$/.exec(value) ?? /^rl:[^ ]+= (\d+) /.exec(value))?.[1];
  if (token === undefined) return value.slice(0, 512);
  write(data, key, token, Number(tombstone));
  return 1;
};

export type ScriptName = 'acquire' | 'renew' | 'release' | 'keep' | 'drop' | 'checkOwner' | 'forceRelease';

const SCRIPTS = [
  ['acquire', acquireScript, acquire],
  ['renew', renewScript, renew],
  ['release', releaseScript, release],
  ['keep', keepScript, keep],
  ['drop', dropScript, drop],
  ['checkOwner', checkOwnerScript, checkOwner],
  ['forceRelease', FORCE_RELEASE, forceRelease],
] as const;

export const scriptsBySha = new Map<string, SimScript>(SCRIPTS.map(([, { sha }, run]) => [sha, run]));
export const scriptsByText = new Map<string, SimScript>(SCRIPTS.map(([, { lua }, run]) => [lua, run]));

const names = new Map<string, ScriptName>(
  SCRIPTS.flatMap(([name, { sha, lua }]) => [
    [sha, name],
    [lua, name],
  ]),
);

/** Undefined if the command calls no script. */
export function scriptCalledBy([name, script]: Command): ScriptName | undefined {
  return name === 'eval' || name === 'evalsha' ? names.get(String(script)) : undefined;
}
