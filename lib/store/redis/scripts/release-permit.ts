import { CLOCK, LEAVE, PERMITS } from './permits.js';
import type { ReleaseCall } from './release.js';
import { GroupScript } from './script.js';
import { COOLDOWN_MARK } from './value.js';

/**
 * Gives back the permits of one or more locks. To take an attempt back is the same.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each, `cooldown`,
 *         `tombstone`; then the owner and the token of each lock (see `GroupScript`)
 * Reply   for each lock: 1 if its owner had a permit on each key or had given it back, else 0
 * Writes  removes each permit. The last permit of a key leaves the bounds for `tombstone` ms, so that
 *         the next grant gets a greater token. With a cooldown the permit stays and gets its mark.
 *
 * A release whose answer was lost is sent again. A key whose last token is the token of this very
 * lock was granted to no owner since, so the permit counts as given back: see `releaseScript`.
 */
export const releasePermitScript = new GroupScript<ReleaseCall, boolean>({
  common: ['cooldown', 'tombstone'],
  own: ['token'],
  before: `${CLOCK}${PERMITS}${LEAVE}
local function release(key, owner, token, cooldown, tombstone)
  local values = redis.pcall('HMGET', key, owner, '')
  if values.err then return redis.pcall('GET', key) == token end
  local permit, b = permitOf(values[1]), boundsOf(values[2])
  if not b then return false end
  if not permit then return string.format('%.0f', b.last) == token end
  if cooldown == '0' then
    leave(key, owner, permit, b, tombstone)
  elseif permit.mark == '' then
    permit.ends, permit.mark = ms + tonumber(cooldown), ' ${COOLDOWN_MARK}'
    b.first = math.min(b.first, permit.ends)
    call('PEXPIRE', key, math.max(call('PTTL', key), cooldown))
    call('HSET', key, owner, textOf(permit), '', textOfBounds(b))
  end
  return true
end
`,
  each: `
    local ours = 1
    for i = 1, count do
      if not release(KEYS[first + i], owner, token, cooldown, tombstone) then ours = 0 end
    end
    replies[#replies + 1] = ours
`,
  decode: (reply) => reply === 1,
});
