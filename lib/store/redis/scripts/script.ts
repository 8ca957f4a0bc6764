import { createHash } from 'node:crypto';
import type { Command } from '../connection.js';

/** A Lua script that serves many requests in one call: fewer commands, one run of the interpreter. */
export class Script {
  readonly sha: string;

  constructor(readonly lua: string) {
    this.sha = createHash('sha1').update(lua).digest('hex');
  }

  /** `cached`: the server has run it before, so its hash is enough. */
  command(keys: readonly string[], args: readonly (string | number)[], cached: boolean): Command {
    return cached
      ? ['evalsha', this.sha, keys.length, ...keys, ...args]
      : ['eval', this.lua, keys.length, ...keys, ...args];
  }
}

/** What a released key holds is kept this long, so that the next token is greater even where a clock steps back. */
export const TOMBSTONE_TIME = 10_000;
