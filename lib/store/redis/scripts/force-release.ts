import { Script, WRITE } from './script.js';

/**
 * Takes a lock away from its holder.
 *
 * KEYS    the key
 * ARGV    ms that the bare token stays: see `tombstoneTimeOf`
 * Reply   1 if the key was held; 0 if it was free; or another program's value, which is left alone
 * Writes  the bare token, as a release does, so that the next grant gets a greater token
 */
export const FORCE_RELEASE = new Script(`${WRITE}
local value = redis.call('GET', KEYS[1])
if not value or (#value == 16 and string.find(value, '^%d+$')) then return 0 end
local token = string.match(value, '^rl:[^ ]+ (%d+)$')
if not token then return string.sub(value, 1, 512) end
write(KEYS[1], token, ARGV[1])
return 1
`);
