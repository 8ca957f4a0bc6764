import { Script, TOMBSTONE_TIME, WRITE } from './script.js';

/*
 * Takes a lock from whoever holds it; its fencing token stays, as after a release.
 *
 * KEYS  the key
 * reply 1 where it was held, 0 where it was free, or the value of another program, which is left alone
 */
export const FORCE_RELEASE = new Script(`${WRITE}
local value = redis.call('GET', KEYS[1])
if not value or (#value == 16 and string.find(value, '^%d+$')) then return 0 end
local token = string.match(value, '^rl:[^ ]+ (%d+)$')
if not token then return string.sub(value, 1, 512) end
write(KEYS[1], token, ${TOMBSTONE_TIME})
return 1
`);
