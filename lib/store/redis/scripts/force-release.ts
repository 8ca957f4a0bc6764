import { Script, WRITE } from './script.js';
import { KEPT_MARK } from './value.js';

/**
 * Takes a lock away from its holder, or removes a kept result.
 *
 * KEYS    the key
 * ARGV    ms that the bare token stays: see `tombstoneTimeOf`
 * Reply   1 if the key was held or kept a result; 0 if it was free; or another program's value,
 *         which is left alone
 * Writes  the bare token, as a release does, so that the next grant gets a greater token
 */
export const FORCE_RELEASE = new Script(`${WRITE}
local value = redis.call('GET', KEYS[1])
if not value or (#value == 16 and string.find(value, '^%d+$')) then return 0 end
local token = string.match(value, '^rl:[^ ]+ (%d+)$') or string.match(value, '^rl:[^ ]+${KEPT_MARK} (%d+) ')
if not token then return string.sub(value, 1, 512) end
write(KEYS[1], token, ARGV[1])
return 1
`);
