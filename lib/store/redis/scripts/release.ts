import { GroupScript, READ_ALL, WRITE, type ScriptCall } from './script.js';
import { COOLDOWN_MARK } from './value.js';

export interface ReleaseCall extends ScriptCall {
  /** The lock's token; 0 if the attempt was never answered. */
  readonly token: number;
  /** ms for which the keys stay busy; 0 frees them. */
  readonly cooldown: number;
  /** ms that the bare token stays in a freed key: see `tombstoneTimeOf`. */
  readonly tombstone: number;
}

/**
 * Releases one or more locks. To take an attempt back is the same.
 *
 * KEYS    the keys of each lock in turn
 * ARGV    for each series of like locks: their number, the number of keys of each, `cooldown`,
 *         `tombstone`; then the owner and the token of each lock (see `GroupScript`)
 * Reply   for each lock: 1 if its owner held all keys or had released them, else 0
 * Writes  to each key that the owner still holds: its bare token for `tombstone` ms, so that the
 *         next grant gets a greater token. With a cooldown: `<owner>~ <token>`, so that the key
 *         stays busy, no program holds it, and no renewal brings it back.
 *
 * Most locks have one key, which still holds what the lock wrote: such a key is compared as a
 * whole.
 *
 * A release whose answer was lost is sent again. So a key with the bare token of this very lock
 * counts as released by its owner: every later grant has a greater token, so no lock has held the
 * key since. A key that is in cooldown already stays busy until the end of that cooldown and no
 * longer.
 */
export const releaseScript = new GroupScript<ReleaseCall, boolean>({
  common: ['cooldown', 'tombstone'],
  own: ['token'],
  before: `${READ_ALL}${WRITE}
local function release(count, owner, token, cooldown, tombstone)
  local own, marked, ours = owner .. ' ', owner .. '${COOLDOWN_MARK} ', 1
  for i = 1, count do
    local key = KEYS[first + i]
    local value = found[key]
    local bare
    if type(value) ~= 'string' then
      ours = 0
    elseif sub(value, 1, #own) == own then
      bare = sub(value, #own + 1)
      if cooldown ~= '0' then
        found[key] = marked .. bare
        write(key, found[key], cooldown)
        bare = nil
      end
    elseif sub(value, 1, #marked) == marked then
      if cooldown == '0' then
        bare = sub(value, #marked + 1)
      end
    elseif value ~= token then
      ours = 0
    end
    if bare then
      found[key] = bare
      write(key, bare, tombstone)
    end
  end
  return ours
end
`,
  each: `
    local key = KEYS[first + 1]
    if count == 1 and cooldown == '0' and found[key] == owner .. ' ' .. token then
      found[key] = token
      write(key, token, tombstone)
      replies[#replies + 1] = 1
    else
      replies[#replies + 1] = release(count, owner, token, cooldown, tombstone)
    end
`,
  decode: (reply) => reply === 1,
});
