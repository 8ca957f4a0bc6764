import { decodeOwnerCheck, UNREADABLE } from './check-owner.js';
import { CLOCK, PERMITS } from './permits.js';
import { ABSENT, FORGET, GroupScript, type ScriptCall } from './script.js';

/**
 * Checks whether locks still have their permits, and has client tracking report changes of their
 * keys.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each; then the owner
 *         of each lock (see `GroupScript`)
 * Reply   for each lock: 0 if its owner has a permit on each key; or the position (from 1) of the
 *         first key without one; or -1 if the server refuses to read a key
 * Writes  nothing that lasts: see `FORGET`
 *
 * Every key is read, also behind a key that is lost: see `checkOwnerScript`.
 */
export const checkPermitScript = new GroupScript<ScriptCall, number | undefined>({
  common: [],
  before: `${CLOCK}${PERMITS}${ABSENT}`,
  each: `
    local gone = 0
    for i = count, 1, -1 do
      local values = redis.pcall('HMGET', KEYS[first + i], owner, '')
      if values.err and sub(values.err, 1, 9) ~= 'WRONGTYPE' then
        gone = ${UNREADABLE}
        break
      end
      local permit = permitOf(values[1])
      if not permit or permit.ends <= ms or permit.mark ~= '' then
        gone = i
        if not values.err and not values[1] and not values[2] then noteAbsent(KEYS[first + i]) end
      end
    end
    replies[#replies + 1] = gone
`,
  after: FORGET,
  decode: decodeOwnerCheck,
});
