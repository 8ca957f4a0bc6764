import { CLOCK, LEAVE, PERMITS, SURVEY } from './permits.js';
import { Script, WRITE } from './script.js';
import { KEPT_MARK } from './value.js';

/**
 * Takes a key away from its holder, or from all its holders, or removes a kept result.
 *
 * KEYS    the key
 * ARGV    ms that the bare token stays: see `tombstoneTimeOf`; the owner that loses the key, or ''
 *         for every owner
 * Reply   1 if the key was held or kept a result, by the owner if one is named; 0 if not; or another
 *         program's value, which is left alone
 * Writes  the bare token, as a release does, so that the next grant gets a greater token. If an owner
 *         of a hash is named, the hash without that owner.
 */
export const FORCE_RELEASE = new Script(`
local call = redis.call
${CLOCK.trim()}${PERMITS}${SURVEY}${LEAVE}${WRITE}
local key, tombstone, owner = KEYS[1], ARGV[1], ARGV[2]

local function releaseShared()
  local values = call('HMGET', key, '', owner)
  local b = boundsOf(values[1])
  if not b then return call('GET', key) end
  if owner ~= '' then
    local permit = permitOf(values[2])
    if not permit then return 0 end
    leave(key, owner, permit, b, tombstone)
    return permit.ends > ms and 1 or 0
  end
  -- Permitted even if the memory of the server is full, and then the writes behind it are.
  call('PEXPIRE', key, math.max(call('PTTL', key), 1))
  local count = survey(key, b)
  if count > 0 then write(key, string.format('%.0f', b.last), tombstone) end
  return math.min(count, 1)
end

local value = redis.pcall('GET', key)
if type(value) == 'table' then
  if string.sub(value.err, 1, 9) == 'WRONGTYPE' then return releaseShared() end
  return value
end
if not value or (#value == 16 and string.find(value, '^%d+$')) then return 0 end
local holder, token = string.match(value, '^(rl:[^ ~=]+)~? (%d+)$')
if not token then holder, token = string.match(value, '^(rl:[^ ~=]+)${KEPT_MARK} (%d+) ') end
if not token then return string.sub(value, 1, 512) end
if owner ~= '' and owner ~= holder then return 0 end
write(key, token, tombstone)
return 1
`);
