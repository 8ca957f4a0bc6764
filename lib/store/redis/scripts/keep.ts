import { ABSENT, FORGET, GroupScript, READ_ALL } from './script.js';
import { decodeRenew, type RenewAnswer, type RenewCall } from './renew.js';
import { KEPT_MARK } from './value.js';

/**
 * The Lua function `tokenOf(value, owner)`: the token in the value, if the owner holds the key or
 * left its result there; else nil.
 */
export const TOKEN_OF = `
local function tokenOf(value, owner)
  if type(value) ~= 'string' then return nil end
  local own, kept = owner .. ' ', owner .. '${KEPT_MARK} '
  if sub(value, 1, #own) == own then return sub(value, #own + 1) end
  if sub(value, 1, #kept) == kept then return sub(value, #kept + 1, #kept + 16) end
  return nil
end
`;

/**
 * Gives one or more locks back, and keeps a result in their keys. Never creates a key: the result
 * of work whose lock is lost is not kept.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each, `ttl`; then the
 *         owner and the result of each lock (see `GroupScript`)
 * Reply   for each lock: 0 if its result is kept; or the position (from 1) of the first key that
 *         its owner does not hold. Then no key was written for this lock.
 * Writes  `<owner>= <token> <result>` to each key, with `ttl`. A key that keeps the result of this
 *         owner already is written again, because WAIT covers only what this connection wrote, and
 *         because the answer to an earlier write may have been lost.
 *
 * A result needs memory, so a server whose memory is full refuses it. The lock is held until then.
 */
export const keepScript = new GroupScript<RenewCall, RenewAnswer>({
  common: ['ttl'],
  own: ['result'],
  before: `${READ_ALL}${TOKEN_OF}${ABSENT}`,
  each: `
    local gone, tokens = 0, {}
    for i = count, 1, -1 do
      tokens[i] = tokenOf(found[KEYS[first + i]], owner)
      if not tokens[i] then gone = i end
    end
    for i = 1, count do
      local key = KEYS[first + i]
      if gone == 0 then
        found[key] = owner .. '${KEPT_MARK} ' .. tokens[i] .. ' ' .. result
        call('SET', key, found[key], 'PX', ttl)
      elseif not found[key] then
        noteAbsent(key)
      end
    end
    replies[#replies + 1] = gone
`,
  after: FORGET,
  decode: decodeRenew,
});
