import { acquirePermitScript } from '../lib/store/redis/scripts/acquire-permit.js';
import { acquireScript } from '../lib/store/redis/scripts/acquire.js';
import { checkPermitScript } from '../lib/store/redis/scripts/check-permit.js';
import { FORCE_RELEASE } from '../lib/store/redis/scripts/force-release.js';
import { checkOwnerScript } from '../lib/store/redis/scripts/check-owner.js';
import { dropScript } from '../lib/store/redis/scripts/drop.js';
import { keepScript } from '../lib/store/redis/scripts/keep.js';
import { releasePermitScript } from '../lib/store/redis/scripts/release-permit.js';
import { releaseScript } from '../lib/store/redis/scripts/release.js';
import { renewPermitScript } from '../lib/store/redis/scripts/renew-permit.js';
import { renewScript } from '../lib/store/redis/scripts/renew.js';
import { COOLDOWN_MARK, KEPT_MARK } from '../lib/store/redis/scripts/value.js';
import type { Command } from '../lib/store/redis/resp.js';
import { callsOf, forget, write, type SimScript } from './script-data.js';
import {
  acquirePermit,
  checkPermit,
  forceReleaseShared,
  releasePermit,
  renewPermit,
} from './permit-scripts.js';

/*
 * The Lua scripts in TypeScript. A differential test compares each script with the twin here:
 * test/simulation/scripts.spec.ts.
 */

const acquire: SimScript = (data, keys, args) => {
  const absent: string[] = [];
  const replies = [...callsOf(keys, args, 3)].map(({ keys: own, owner, common: [ttl, floor, tombstone] }) => {
    let token = Number(floor);
    const clock = data.now();
    // A single key is first taken as a free key.
    if (own.length === 1 && token <= clock && data.setNew(own[0]!, `${owner} ${clock}`, Number(ttl)))
      return String(clock);
    const values = own.map((key) => data.get(key));
    const hash = own.findIndex((key) => data.hash(key) !== undefined && data.exists(key));
    if (hash === 0 && own.length === 1) return [0, 'WRONGTYPE'];
    for (const [i, value] of values.entries()) {
      if (value?.startsWith(`${owner} `)) token = Math.max(token, Number(value.slice(owner.length + 1)));
      else if (value === null) token = Math.max(token, data.now());
      else if (/^\d{16}$/.test(value)) token = Math.max(token, data.now(), Number(value) + 1);
      else {
        absent.push(...own.filter((_, place) => values[place] === null));
        return [i, value.slice(0, 512), data.pttl(own[i]!)];
      }
    }
    if (hash === 0) data.setNew(own[0]!, '', 1);
    for (const [i, key] of own.entries())
      if (hash < 0 || i < hash) data.set(key, `${owner} ${token}`, Number(ttl));
    if (hash < 0) return String(token);
    // The keys before a hash are given back.
    for (const [i, key] of own.entries()) {
      if (i < hash && values[i]?.startsWith(`${owner} `) !== true)
        data.set(key, String(token), Number(tombstone));
      else if (i >= hash && values[i] === null) absent.push(key);
    }
    return [hash, 'WRONGTYPE'];
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

const forceRelease: SimScript = (data, [key = ''], [tombstone, owner = '']) => {
  if (data.hash(key) !== undefined && data.exists(key))
    return forceReleaseShared(data, key, Number(tombstone), owner);
  const value = data.get(key);
  if (value === null || /^\d{16}$/.test(value)) return 0;
  const [, holder, token] = /^(rl:[^ ~=]+)~? (\d+)$/.exec(value) ?? /^(rl:[^ ~=]+)= (\d+) /.exec(value) ?? [];
  if (token === undefined) return value.slice(0, 512);
  if (owner !== '' && owner !== holder) return 0;
  write(data, key, token, Number(tombstone));
  return 1;
};

export type ScriptName =
  | 'acquire'
  | 'renew'
  | 'release'
  | 'keep'
  | 'drop'
  | 'checkOwner'
  | 'acquirePermit'
  | 'renewPermit'
  | 'releasePermit'
  | 'checkPermit'
  | 'forceRelease';

const SCRIPTS = [
  ['acquire', acquireScript, acquire],
  ['renew', renewScript, renew],
  ['release', releaseScript, release],
  ['keep', keepScript, keep],
  ['drop', dropScript, drop],
  ['checkOwner', checkOwnerScript, checkOwner],
  ['acquirePermit', acquirePermitScript, acquirePermit],
  ['renewPermit', renewPermitScript, renewPermit],
  ['releasePermit', releasePermitScript, releasePermit],
  ['checkPermit', checkPermitScript, checkPermit],
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
