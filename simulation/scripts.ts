import { acquireScript } from '../lib/store/redis/scripts/acquire.js';
import { FORCE_RELEASE } from '../lib/store/redis/scripts/force-release.js';
import { lookScript } from '../lib/store/redis/scripts/look.js';
import { releaseScript } from '../lib/store/redis/scripts/release.js';
import { renewScript } from '../lib/store/redis/scripts/renew.js';
import { TOMBSTONE_TIME } from '../lib/store/redis/scripts/script.js';
import { KEPT } from '../lib/store/redis/scripts/value.js';
import type { Reply } from '../lib/store/redis/connection.js';

/** What a script may do to a server's data. */
export interface Data {
  get(key: string): string | null;
  pttl(key: string): number;
  set(key: string, value: string, px: number): void;
  /** µs since 1970 by the server's clock. */
  now(): number;
}

export type SimScript = (data: Data, keys: readonly string[], args: readonly string[]) => Reply;

/** What the Lua scripts do, in TypeScript; a differential test holds the two against each other. */
const acquire: SimScript = (data, keys, args) => {
  const replies: Reply[] = [];
  let first = 0;
  for (let a = 0; a < args.length; a += 4) {
    const [count, owner, ttl] = [Number(args[a]), args[a + 1]!, Number(args[a + 2])];
    const own = keys.slice(first, first + count);
    first += count;
    let token = Number(args[a + 3]);
    let reply: Reply | undefined;
    for (const [i, key] of own.entries()) {
      const value = data.get(key);
      if (value?.startsWith(`${owner} `)) token = Math.max(token, Number(value.slice(owner.length + 1)));
      else if (value === null) token = Math.max(token, data.now());
      else if (/^\d{16}$/.test(value)) token = Math.max(token, data.now(), Number(value) + 1);
      else {
        reply = [i, value.slice(0, 512), data.pttl(key)];
        break;
      }
    }
    if (reply === undefined) {
      reply = String(token);
      for (const key of own) data.set(key, `${owner} ${token}`, ttl);
    }
    replies.push(reply);
  }
  return replies;
};

/** The token in a value that is the owner's, with or without the mark; undefined where it is not. */
function tokenOf(value: string | null, owner: string, mark: string): string | undefined {
  return [`${owner} `, `${owner}${mark} `]
    .filter((own) => value?.startsWith(own) === true)
    .map((own) => value!.slice(own.length))[0];
}

const renew: SimScript = (data, keys, args) => {
  const replies: Reply[] = [];
  let first = 0;
  for (let a = 0; a < args.length; a += 4) {
    const [count, owner, ttl, mark] = [Number(args[a]), args[a + 1]!, Number(args[a + 2]), args[a + 3]!];
    const own = keys.slice(first, first + count);
    first += count;
    const tokens = own.map((key) => tokenOf(data.get(key), owner, mark));
    const gone = tokens.findIndex((token) => token === undefined);
    if (gone < 0) {
      for (const [i, key] of own.entries()) {
        data.set(key, `${owner}${mark} ${tokens[i]}`, ttl);
        data.get(key);
      }
    }
    replies.push(gone + 1);
  }
  return replies;
};

const release: SimScript = (data, keys, args) => {
  const replies: Reply[] = [];
  let first = 0;
  for (let a = 0; a < args.length; a += 3) {
    const [count, owner, keep] = [Number(args[a]), args[a + 1]!, Number(args[a + 2])];
    let ours = 1;
    for (const key of keys.slice(first, first + count)) {
      const token = tokenOf(data.get(key), owner, KEPT);
      if (token === undefined) ours = 0;
      else if (keep > 0) data.set(key, `${owner}${KEPT} ${token}`, keep);
      else data.set(key, token, TOMBSTONE_TIME);
    }
    first += count;
    replies.push(ours);
  }
  return replies;
};

const look: SimScript = (data, keys, args) => {
  const replies: Reply[] = [];
  let first = 0;
  for (let a = 0; a < args.length; a += 2) {
    const [count, owner] = [Number(args[a]), args[a + 1]!];
    const held = keys
      .slice(first, first + count)
      .map((key) => data.get(key)?.startsWith(`${owner} `) === true);
    replies.push(held.indexOf(false) + 1);
    first += count;
  }
  return replies;
};

const forceRelease: SimScript = (data, [key = '']) => {
  const value = data.get(key);
  if (value === null || /^\d{16}$/.test(value)) return 0;
  const token = /^rl:[^ ]+ (\d+)$/.exec(value)?.[1];
  if (token === undefined) return value.slice(0, 512);
  data.set(key, token, TOMBSTONE_TIME);
  return 1;
};

export const scriptsBySha = new Map<string, SimScript>([
  [acquireScript.script.sha, acquire],
  [renewScript.script.sha, renew],
  [releaseScript.script.sha, release],
  [lookScript.script.sha, look],
  [FORCE_RELEASE.sha, forceRelease],
]);

export const scriptsByText = new Map<string, SimScript>([
  [acquireScript.script.lua, acquire],
  [renewScript.script.lua, renew],
  [releaseScript.script.lua, release],
  [lookScript.script.lua, look],
  [FORCE_RELEASE.lua, forceRelease],
]);
