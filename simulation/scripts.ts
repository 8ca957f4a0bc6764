import { acquireScript } from '../lib/store/redis/scripts/acquire.js';
import { FORCE_RELEASE } from '../lib/store/redis/scripts/force-release.js';
import { releaseScript } from '../lib/store/redis/scripts/release.js';
import { renewScript } from '../lib/store/redis/scripts/renew.js';
import { TOMBSTONE_TIME } from '../lib/store/redis/scripts/script.js';
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

const renew: SimScript = (data, keys, args) => {
  const replies: Reply[] = [];
  let first = 0;
  for (let a = 0; a < args.length; a += 3) {
    const [count, owner, ttl] = [Number(args[a]), args[a + 1]!, Number(args[a + 2])];
    const own = keys.slice(first, first + count);
    first += count;
    const gone = own.findIndex((key) => !(data.get(key)?.startsWith(`${owner} `) ?? false));
    if (gone < 0) for (const key of own) data.set(key, data.get(key)!, ttl);
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
      const value = data.get(key);
      if (!(value?.startsWith(`${owner} `) ?? false)) ours = 0;
      else if (keep > 0) data.set(key, value!, keep);
      else data.set(key, value!.slice(owner.length + 1), TOMBSTONE_TIME);
    }
    first += count;
    replies.push(ours);
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
  [FORCE_RELEASE.sha, forceRelease],
]);

export const scriptsByText = new Map<string, SimScript>([
  [acquireScript.script.lua, acquire],
  [renewScript.script.lua, renew],
  [releaseScript.script.lua, release],
  [FORCE_RELEASE.lua, forceRelease],
]);
