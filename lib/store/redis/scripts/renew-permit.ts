import { CLOCK, PERMITS } from './permits.js';
import { decodeRenew, type RenewAnswer, type RenewCall } from './renew.js';
import { ABSENT, FORGET, GroupScript } from './script.js';
import { COOLDOWN_MARK } from './value.js';

/**
 * Extends the permits of one or more locks. Never creates a permit.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each, `ttl`,
 *         `purpose`; then the owner of each lock (see `GroupScript`)
 * Reply   for each lock: 0 if its permits were extended; or the position (from 1) of the first key
 *         on which its owner has no permit. Then none of its permits was extended.
 * Writes  the permit and the bounds of each key again, so that a replica that lost them has them
 *         again. With the purpose `cooldown` the permit gets its mark; a permit in cooldown keeps the
 *         time that it has left.
 *
 * PEXPIRE comes first, because it is permitted even if the server's memory is full, and then the
 * writes behind it are. The keys are read behind the writes, so that client tracking reports their
 * next change.
 */
export const renewPermitScript = new GroupScript<RenewCall, RenewAnswer>({
  common: ['ttl', 'purpose'],
  before: `${CLOCK}${PERMITS}${ABSENT}local written = {}
`,
  each: `
    local gone, permits, bounds = 0, {}, {}
    for i = count, 1, -1 do
      local values = redis.pcall('HMGET', KEYS[first + i], owner, '')
      local permit, b = permitOf(values[1]), boundsOf(values[2])
      if permit and b and permit.ends > ms and (permit.mark == '' or purpose == 'cooldown') then
        if permit.mark == '' then permit.ends = ms + tonumber(ttl) end
        if purpose == 'cooldown' then permit.mark = ' ${COOLDOWN_MARK}' end
        b.first = math.min(b.first, permit.ends)
        permits[i], bounds[i] = permit, b
      else
        gone = i
        if not values.err and not values[1] and not values[2] then noteAbsent(KEYS[first + i]) end
      end
    end
    for i = 1, gone == 0 and count or 0 do
      local key = KEYS[first + i]
      call('PEXPIRE', key, math.max(call('PTTL', key), permits[i].ends - ms))
      call('HSET', key, owner, textOf(permits[i]), '', textOfBounds(bounds[i]))
      written[#written + 1] = key
    end
    replies[#replies + 1] = gone
`,
  after: `
if #written > 0 then call('EXISTS', unpack(written)) end
${FORGET}`,
  decode: decodeRenew,
});
