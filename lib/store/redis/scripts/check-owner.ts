import type { Reply } from '../resp.js';
import { FORGET, GroupScript, READ_ALL, type ScriptCall } from './script.js';

/** The reply for a lock with a key that the server refuses to read. */
export const UNREADABLE = -1;

/**
 * Checks whether locks are still held, and has client tracking report changes of their keys.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each; then the owner
 *         of each lock (see `GroupScript`)
 * Reply   for each lock: 0 if its owner holds all keys; or the position (from 1) of the first key
 *         that its owner does not hold; or -1 if the server refuses to read a key
 * Writes  nothing that lasts: see `FORGET`
 *
 * Every key is read, also behind a key that is lost, because client tracking follows only keys that
 * were read.
 */
export const checkOwnerScript = new GroupScript<ScriptCall, number | undefined>({
  common: [],
  before: `${READ_ALL}
local absent
`,
  each: `
    local own, gone = owner .. ' ', 0
    for i = count, 1, -1 do
      local value = found[KEYS[first + i]]
      if type(value) == 'table' and sub(value.err, 1, 9) ~= 'WRONGTYPE' then
        gone = ${UNREADABLE}
        break
      elseif type(value) ~= 'string' or sub(value, 1, #own) ~= own then
        gone = i
        if not value then
          absent = absent or {}
          absent[#absent + 1] = KEYS[first + i]
        end
      end
    end
    replies[#replies + 1] = gone
`,
  after: FORGET,
  decode: decodeOwnerCheck,
});

/** Decodes the reply for one lock: see `LockScripts`. */
export function decodeOwnerCheck(reply: Reply | undefined): number | undefined {
  return typeof reply !== 'number' || reply === UNREADABLE ? undefined : reply - 1;
}
