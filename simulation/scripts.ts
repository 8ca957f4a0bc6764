import { acquireScript } from '../lib/store/redis/scripts/acquire.js';
import { FORCE_RELEASE } from '../lib/store/redis/scripts/force-release.js';
import { lookScript } from '../lib/store/redis/scripts/look.js';
import { releaseScript } from '../lib/store/redis/scripts/release.js';
import { renewScript } from '../lib/store/redis/scripts/renew.js';
import { TOMBSTONE_TIME } from '../lib/store/redis/scripts/script.js';
import { KEPT } from '../lib/store/redis/scripts/value.js';
import type { Command, Reply } from '../lib/store/redis/connection.js';

/** What a script may do to a server's data. */
export interface Data {
  get(key: string): string | null;
  pttl(key: string): number;
  /** Throws `OutOfMemory` if memory is full and the script has written nothing before. */
  set(key: string, value: string, px: number): void;
  /** The same with NX: false if the key is there, which is not read. */
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
}

/** Takes runs apart: see `GroupScript`. */
function* callsOf(keys: readonly string[], args: readonly string[], commonCount: number): Generator<SimCall> {
  let first = 0;
  for (let at = 0; at < args.length;) {
    const [calls, count] = [Number(args[at]), Number(args[at + 1])];
    const owners = at + 2 + commonCount;
    const common = args.slice(at + 2, owners);
    at = owners + calls;
    for (const owner of args.slice(owners, at)) {
      yield { keys: keys.slice(first, first + count), owner, common };
      first += count;
    }
  }
}

/*
 * What the Lua scripts do, in TypeScript; a differential test holds the two against each other.
 */

const acquire: SimScript = (data, keys, args) =>
  [...callsOf(keys, args, 2)].map(({ keys: own, owner, common: [ttl, floor] }) => {
    let token = Number(floor);
    const clock = data.now();
    // Tried as a free one first, if it is one key.
    if (own.length === 1 && token <= clock && data.setNew(own[0]!, `${owner} ${clock}`, Number(ttl)))
      return String(clock);
    for (const [i, key] of own.entries()) {
      const value = data.get(key);
      if (value?.startsWith(`${owner} `)) token = Math.max(token, Number(value.slice(owner.length + 1)));
      else if (value === null) token = Math.max(token, data.now());
      else if (/^\d{16}$/.test(value)) token = Math.max(token, data.now(), Number(value) + 1);
      else return [i, value.slice(0, 512), data.pttl(key)];
    }
    for (const key of own) data.set(key, `${owner} ${token}`, Number(ttl));
    return String(token);
  });

/** The token in a value that is the owner's, with or without the mark; undefined where it is not. */
function tokenOf(value: string | null, owner: string, mark: string): string | undefined {
  return [`${owner} `, `${owner}${mark} `]
    .filter((own) => value?.startsWith(own) === true)
    .map((own) => value!.slice(own.length))[0];
}

const renew: SimScript = (data, keys, args) =>
  [...callsOf(keys, args, 2)].map(({ keys: own, owner, common: [ttl, purpose] }) => {
    const mark = purpose === 'keep' ? KEPT : '';
    const tokens = own.map((key) => tokenOf(data.get(key), owner, mark));
    const gone = tokens.findIndex((token) => token === undefined);
    if (gone < 0) {
      for (const [i, key] of own.entries()) {
        data.set(key, `${owner}${mark} ${tokens[i]}`, Number(ttl));
        data.get(key);
      }
    }
    return gone + 1;
  });

const release: SimScript = (data, keys, args) =>
  [...callsOf(keys, args, 1)].map(({ keys: own, owner, common: [keepFor] }) => {
    let ours = 1;
    for (const key of own) {
      const token = tokenOf(data.get(key), owner, KEPT);
      if (token === undefined) ours = 0;
      else if (Number(keepFor) > 0) data.set(key, `${owner}${KEPT} ${token}`, Number(keepFor));
      else data.set(key, token, TOMBSTONE_TIME);
    }
    return ours;
  });

const look: SimScript = (data, keys, args) =>
  [...callsOf(keys, args, 0)].map(
    ({ keys: own, owner }) =>
      own.map((key) => data.get(key)?.startsWith(`${owner} `) === true).indexOf(false) + 1,
  );

const forceRelease: SimScript = (data, [key = '']) => {
  const value = data.get(key);
  if (value === null || /^\d{16}$/.test(value)) return 0;
  const token = /^rl:[^ ]+ (\d+)$/.exec(value)?.[1];
  if (token === undefined) return value.slice(0, 512);
  data.set(key, token, TOMBSTONE_TIME);
  return 1;
};

export type ScriptName = 'acquire' | 'renew' | 'release' | 'look' | 'forceRelease';

const SCRIPTS = [
  ['acquire', acquireScript, acquire],
  ['renew', renewScript, renew],
  ['release', releaseScript, release],
  ['look', lookScript, look],
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

/** undefined: it calls no script. */
export function scriptCalledBy([name, script]: Command): ScriptName | undefined {
  return name === 'eval' || name === 'evalsha' ? names.get(String(script)) : undefined;
}
