import { decodeAcquire, type AcquireAnswer, type AcquireCall } from './acquire.js';
import { CLOCK, PERMITS, ROOM, SURVEY } from './permits.js';
import { ABSENT, FORGET, GroupScript } from './script.js';

/**
 * Takes the keys of one or more requests, where several owners may hold a key. Each request gets all
 * of its keys or none of them. An owner enters if then the key has no more holders than the owner
 * allows, and no more than any holder inside allows.
 *
 * KEYS    the keys of each request in turn
 * ARGV    for each series of like requests: their number, the number of keys of each, `ttl`,
 *         `floor`, `limit`; then the owner and `wait` of each request (see `GroupScript`)
 * Reply   for each request: the token as a string; or of the first key that has no room: [index,
 *         value, PTTL] if a mutex holds the key, or [index, owner and permit of a holder, ms until
 *         the key may have room, number of holders, 1 if the caller's mark is set, ms until the
 *         longest lease ends that was read]; or
 *         [index, error] of a key that cannot be used
 * Writes  a permit and the bounds to each key (see `permits.ts`); with the limit 1 instead
 *         `<owner> <token>` as the mutex does. A permit that this owner already has is written again
 *         with its token: see `acquireScript`. A refusal writes the caller's mark if the caller waits
 *         and allows fewer holders than any holder inside.
 *
 * A string that becomes a hash is written once more before its deletion: a server whose memory is
 * full refuses that write, but neither DEL nor the writes behind it.
 */
export const acquirePermitScript = new GroupScript<AcquireCall, AcquireAnswer>({
  common: ['ttl', 'floor', 'limit'],
  own: ['wait'],
  before: `${CLOCK}${PERMITS}${SURVEY}${ROOM}${ABSENT}
local function enter(key, own, b, ttl, token, limit)
  if limit == 1 then
    call('SET', key, own .. string.format(' %.0f', token), 'PX', ttl)
    return
  end
  if b.text then
    call('SET', key, b.text, 'PX', ttl)
    call('DEL', key)
  end
  local permit = {token = string.format('%.0f', token), ends = ms + ttl, limit = limit, mark = ''}
  b.last, b.first = math.max(b.last, token), math.min(b.first, permit.ends)
  if limit < b.least then b.least, b.exact = limit, '1' end
  call('HSET', key, own, textOf(permit), '', textOfBounds(b))
  if call('PTTL', key) < ttl then call('PEXPIRE', key, ttl) end
end

local function take(count, own, ttl, token, limit, wait)
  local all = {}
  for i = 1, count do
    local b, refused = room(KEYS[first + i], own, limit, wait)
    if not b then
      for k = 1, i - 1 do
        if all[k].isAbsent then noteAbsent(KEYS[first + k]) end
      end
      return {i - 1, unpack(refused)}
    end
    all[i] = b
    token = math.max(token, b.mine or math.max(now, b.last + 1))
  end
  for i = 1, count do enter(KEYS[first + i], own, all[i], ttl, token, limit) end
  return string.format('%.0f', token)
end
`,
  each: `
    replies[#replies + 1] = take(count, owner, tonumber(ttl), tonumber(floor), tonumber(limit), tonumber(wait))
`,
  after: FORGET,
  decode: decodeAcquire,
});
